"""`headrace simulate`: a planted stream of events, to try things with."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from worker.commands.options import config_option, json_option, pack_option

if TYPE_CHECKING:
    from worker.simulate import Planted, Truth

EXAMPLES = """\b
Examples:
  headrace simulate --events 1000000
  headrace simulate --rate 5000 --no-drift --truth build/truth.json
  headrace simulate --events 3 --dry-run
"""


@click.command(epilog=EXAMPLES, short_help="Send a planted stream of events, to try things with.")
@config_option
@click.option("--events", default=1_000_000, show_default=True, type=click.IntRange(min=1), help="How many.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Events a second.  [default: full speed]")
@click.option("--users", default=50_000, show_default=True, type=click.IntRange(min=1), help="How many users.")
@click.option("--items", default=10_000, show_default=True, type=click.IntRange(min=1), help="How many items.")
@click.option(
    "--drift-at", default=0.5, show_default=True, type=click.FloatRange(0, 1),
    help="The share of the stream after which 30 % of the items change their appeal.",
)  # fmt: skip
@click.option("--no-drift", is_flag=True, help="Nothing ever changes.")
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(min=0), help="The same seed, the same stream."
)
@click.option(
    "--start", type=click.DateTime(), metavar="TIME",
    help="Event time of the first event, in UTC; the next ones follow at --rate, or at 1000 a second. "
         "[default: each event's time is the moment it is sent]",
)  # fmt: skip
@click.option("--truth", type=click.Path(dir_okay=False, path_type=Path), help="Write what is true of the stream here.")
@pack_option
@click.option("--dry-run", is_flag=True, help="Print the events, a line each, instead of sending them.")
@json_option
def simulate(
    config_path: Path | None,
    events: int,
    rate: float | None,
    users: int,
    items: int,
    drift_at: float,
    no_drift: bool,
    seed: int,
    start: datetime | None,
    truth: Path | None,
    pack_events: int,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Send a planted stream of events to the event topic.

    Users and items are drawn by Zipf's law; what a user thinks of an item, the hour, the device and the slot decide
    the probability of the label. That law is known, so the lowest log loss that any model can reach is known too.
    """
    import dataclasses

    import orjson

    from worker.commands.sending import as_text, progress_bar
    from worker.files import write_whole
    from worker.settings import load as load_config
    from worker.simulate import Planted
    from worker.simulate import simulate as run

    times: dict[str, Any] = {}
    if start is not None:
        moment = start.replace(tzinfo=UTC)
        times = {"start_time": round(moment.timestamp() * 1000), "events_per_second": rate or 1_000.0}
    planted = Planted(
        events=events, users=users, items=items, seed=seed, drift_at=None if no_drift else drift_at, **times
    )
    if dry_run:
        known = _print(planted)
    else:
        config = load_config(config_path, os.environ)
        with progress_bar(events) as progress:
            summary = run(config, planted, rate=rate, live=start is None, pack_events=pack_events, progress=progress)
        known = summary.truth
        if as_json:
            click.echo(orjson.dumps(dataclasses.asdict(summary), option=orjson.OPT_INDENT_2))
        else:
            click.echo(
                f"{summary.events:,} events in {summary.seconds:.1f} s ({summary.events_per_second:,.0f} a second) "
                f"to topic {summary.topic}, {summary.partitions} partitions\n"
                f"log loss: at best {known.irreducible_log_loss:.4f}, "
                f"of the best constant {known.constant_log_loss:.4f}"
            )
            if known.drift_event is not None and known.drift_time is not None:
                click.echo(f"drift: from event {known.drift_event:,} on, event time {as_text(known.drift_time)}")
    if truth is not None:
        write_whole(truth, orjson.dumps(dataclasses.asdict(known), option=orjson.OPT_INDENT_2) + b"\n")


def _print(planted: "Planted") -> "Truth":
    from worker.commands.sending import print_lines
    from worker.simulate import Tally
    from worker.simulate.encoding import encode

    tally = Tally(planted)

    def lines() -> Iterator[bytes]:
        for batch in planted.batches(1_000):
            yield b"\n".join(encode(batch))
            tally.add(batch)

    print_lines(lines())
    return tally.truth()
