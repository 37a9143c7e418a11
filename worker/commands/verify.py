"""`headrace verify`: whether the published model is the one learned from its events."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from worker.commands.options import config_option, json_option
from worker.commands.replaying import open_chain, open_source, source_options, threads_of

if TYPE_CHECKING:
    from worker.replay import Verdict

EXAMPLES = """\b
Examples:
  headrace verify tuesday                      (events recorded by `headrace record --to tuesday`)
  headrace verify tuesday --model-recording tuesday.model
  headrace verify --shard 3 --versions 40:60   (both from Kafka)
  headrace verify tuesday --json | jq '.[] | select(.difference)'
"""

_RANGE = re.compile(r"([0-9]{1,18})?(:)?([0-9]{1,18})?")


def _versions(_context: click.Context, _parameter: click.Parameter, text: str | None) -> tuple[int | None, int | None]:
    if text is None:
        return None, None
    found = _RANGE.fullmatch(text)
    if found is None or not text or text == ":":
        raise click.BadParameter(f"{text!r} is no range of versions: write 40:60, 40:, :60 or 40")
    first = int(found[1]) if found[1] else None
    last = int(found[3]) if found[3] else (None if found[2] else first)
    if first == 0 or (last is not None and last < (first or 1)):
        raise click.BadParameter(f"{text!r}: versions count from 1, and the first is not after the last")
    return first, last


@click.command(epilog=EXAMPLES, short_help="Prove that the published model is the one learned from its events.")
@source_options
@config_option
@click.option("--shard", "shards", multiple=True, type=click.IntRange(min=0), help="Only this one; repeatable.")
@click.option(
    "--versions", callback=_versions, metavar="N:M",
    help="Only these, from the last base before them on; N:, :M and N do too.  [default: all, as far back as it goes]",
)  # fmt: skip
@json_option
@click.pass_context
def verify(
    context: click.Context,
    recording: str | None,
    topic: str | None,
    model_recording: str | None,
    threads: int | None,
    config_path: Path | None,
    shards: tuple[int, ...],
    versions: tuple[int | None, int | None],
    *,
    as_json: bool,
) -> None:
    """Learn published versions again from their events, and compare them to the bit.

    Events come from RECORDING, or from Kafka; versions from the model topic, or from a recording of it. Where shards
    are merged, all of them are learned again. The first version that differs is named, and what of it differs.

    Exit code: 0 all are equal, 2 there is no such version, 3 no broker answers, 4 a version differs, or events or
    versions do not fit.
    """
    import orjson

    from worker import warm
    from worker.commands.sending import progress_bar
    from worker.errors import IncompatibleDataError
    from worker.replay.verifying import Again
    from worker.settings import load

    config = load(config_path, os.environ)
    source, _ = open_source(config, recording, topic)
    with open_chain(config, model_recording) as chain:
        warm.compile_all()
        with progress_bar(None, doing="learning again", what="records") as progress:
            found = Again(
                source=source, chain=chain, shards=set(shards) or None, first=versions[0], last=versions[1],
                threads=threads_of(threads, source.shards), batch_events=config.run.poll_events, progress=progress,
            ).run()  # fmt: skip
    if as_json:
        click.echo(orjson.dumps([as_data(one) for one in found], option=orjson.OPT_INDENT_2))
    else:
        for one in found:
            click.echo(_told(one))
    context.exit(0 if all(one.sound for one in found) else IncompatibleDataError.exit_code)


def as_data(verdict: "Verdict") -> dict[str, Any]:
    """Give a verdict as JSON has it."""
    difference = verdict.difference
    return {
        "shard": verdict.shard,
        "sound": verdict.sound,
        "begun": verdict.begun,
        "first_version": verdict.first,
        "last_version": verdict.last,
        "events": verdict.events,
        "difference": None if difference is None else {
            "version": difference.version,
            "first_offset": difference.first_offset,
            "next_offset": difference.next_offset,
            "fields": {
                name: {"published": was, "replayed": now} for name, (was, now) in difference.fields.items()
            },
        },
        "waits": verdict.waits,
        "short": verdict.short,
    }  # fmt: skip


def _told(verdict: "Verdict") -> str:
    of = f"versions {verdict.first} to {verdict.last}" if verdict.last else "no versions"
    begun = f"from the base of version {verdict.begun}" if verdict.begun else "from nothing"
    head = f"shard {verdict.shard}: "
    equal = f"{of} are equal, {verdict.events:,} events learned again {begun}"
    if verdict.difference is not None:
        difference = verdict.difference
        lines = [f"    {name}: published {was}, learned again {now}" for name, (was, now) in difference.fields.items()]
        first = (
            f"{head}version {difference.version} DIFFERS ({difference.events}); "
            f"before it, {of if verdict.last else 'none'} are equal"
        )
        return "\n".join([first, *lines])
    if verdict.waits is not None:
        return f"{head}{equal}; no further: {verdict.waits}"
    return f"{head}{equal}; it has no later ones" if verdict.short else head + equal
