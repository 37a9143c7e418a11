"""`headrace explain`: why an event is scored as it is."""

import os
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from worker.commands.options import config_option, json_option

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from worker.follow import Explanation, Row

_HALF_BAR = 8  # characters to either side of the axis

EXAMPLES = """\b
Examples:
  headrace explain '{"user": "u1", "item": "i7"}'
  headrace explain candidates.jsonl --json > explained.jsonl
  head -1 events.jsonl | headrace explain --top 5
"""


class EventsType(click.File):
    """A file of JSON lines, `-` for standard input, or one event as it stands."""

    name = "events"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> IO[Any]:  # noqa: ANN401 - as click has it
        """Open the file, or take the event for one."""
        if isinstance(value, str) and value.lstrip().startswith("{"):
            return BytesIO(value.replace("\n", " ").encode())
        return super().convert(value, parameter, context)


@click.command(epilog=EXAMPLES, short_help="Tell why events are scored as they are.")
@config_option
@json_option
@click.argument("events", type=EventsType("rb"), default="-")
@click.option(
    "--top", default=15, show_default=True, type=click.IntRange(min=1), help="Shares shown; JSON has all of them."
)
def explain(config_path: Path | None, *, as_json: bool, events: IO[bytes], top: int) -> None:
    """Tell why events are scored as they are, by the model as it is published now: one event, or JSON lines.

    Shows what each field and each pair of fields adds to the logit, with its standard deviation, and the rows behind
    it: what they hold, when they were last learned from, and by which version. With --json a line for each event. An
    event that cannot be read gets the reason.
    """
    import logging

    from worker.commands.sending import print_lines
    from worker.follow import Follower
    from worker.observe import log
    from worker.settings import load

    config = load(config_path, os.environ)
    log.setup("warning", config.log.format)
    logging.getLogger("worker.stream.librdkafka").setLevel(logging.ERROR)
    lines = (line for line in events if line.strip())
    with Follower(config.kafka, config.model.topic) as follower:
        print_lines(_explained(follower.explain, lines, as_json=as_json, top=top))


def _explained(why: Any, lines: Iterator[bytes], *, as_json: bool, top: int) -> Iterator[bytes]:  # noqa: ANN401
    """Give what to print for each event."""
    import orjson

    from worker.errors import RejectedEventError

    for line in lines:
        try:
            explanation = why(line)
        except RejectedEventError as error:
            told = {"rejected": error.reason, "detail": error.detail}
            yield orjson.dumps(told) if as_json else f"cannot be explained, {error}\n".encode()
        else:
            yield orjson.dumps(explanation) if as_json else shown(explanation, top).encode()


def shown(explanation: "Explanation", top: int, *, width: int | None = None) -> str:
    """Write an explanation for people, as wide as the terminal unless told otherwise, coloured if there is one."""
    from rich.console import Console

    console = Console(width=width, highlight=False)
    with console.capture() as capture:
        for part in (_head(explanation), _shares(explanation, top), _rows(explanation)):
            console.print(part)
    return capture.get()


def _head(one: "Explanation") -> "Text":
    from rich.text import Text

    what = "probability" if one.loss == "logistic" else "value"
    lines = [
        f"{what} {one.probability:.3f}, with 90 % from {_number(one.low)} to {_number(one.high)}",
        f"logit {one.logit:+.3f}, standard deviation {_number(one.variance**0.5)}"
        if one.loss == "logistic"
        else f"standard deviation {_number(one.variance**0.5)}",
        f"shard {one.shard}, " + (f"version {one.version}" if one.version else "without a version yet"),
    ]
    if one.missing:
        lines.append(f"missing: {', '.join(one.missing)}")
    if one.unseen:
        lines.append(f"never learned from, only the prior counts: {', '.join(one.unseen)}")
    return Text("\n".join(lines) + "\n")


def _shares(one: "Explanation", top: int) -> "RenderableType":
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    fields = [(field.share, field.deviation, _named(field.field, field.rows)) for field in one.fields]
    pairs = [(pair.share, pair.deviation, f"{pair.left} x {pair.right}") for pair in one.pairs]
    shares = sorted(fields + pairs, key=lambda share: -abs(share[0]))
    largest = max((abs(share) for share, _, _ in shares), default=0.0)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("share", justify="right", no_wrap=True)
    table.add_column("sd", justify="right", no_wrap=True)
    table.add_column("", width=2 * _HALF_BAR + 1, no_wrap=True)
    table.add_column("of", overflow="fold")
    for share, deviation, name in shares[:top]:
        table.add_row(f"{share:+.3f}", _number(deviation), _bar(share, largest), Text(name))
    rest = [share for share, _, _ in shares[top:]]
    if rest:
        table.add_row(f"{sum(rest):+.3f}", "", "", f"{len(rest)} smaller shares")
    table.add_row(
        f"{one.logit:+.3f}", _number(one.variance**0.5), "", "all; pairs have factors in common" if pairs else "all"
    )
    return Group(table, Text())


def _number(value: float, digits: int = 3) -> str:
    """Write a number that a linear kind of model does not know."""
    return "?" if value != value else f"{value:.{digits}f}"  # noqa: PLR0124 - NaN


def _bar(share: float, largest: float) -> "Text":
    """Draw a share as a bar to the left or to the right of an axis."""
    from rich.text import Text

    length = round(_HALF_BAR * abs(share) / largest) if largest else 0
    bar = "█" * length
    if share < 0:
        return Text(bar.rjust(_HALF_BAR) + "│", "red")
    return Text(" " * _HALF_BAR + "│" + bar, "green")


def _named(field: str, rows: "tuple[Row, ...]") -> str:
    values = ", ".join(f"{row.value} (rare)" if row.rare else row.value for row in rows if row.value)
    return f"{field} = {values}" if values else field


def _rows(one: "Explanation") -> "RenderableType":
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("row", overflow="fold", ratio=1)
    table.add_column("weight", justify="right", no_wrap=True)
    table.add_column("sd", justify="right", no_wrap=True)
    table.add_column("learned", justify="right", no_wrap=True)
    table.add_column("last event", no_wrap=True)
    table.add_column("moved by", no_wrap=True)
    for row in one.rows:
        moved = f"{row.moved.shard}: {row.moved}" if row.moved else "never"
        table.add_row(
            Text(_named(row.feature, (row,))), f"{row.weight:+.3f}", _number(row.weight_deviation),
            _number(row.weight_information, 1), (row.seen or "never")[:19].replace("T", " "), moved,
        )  # fmt: skip
    local = [field.field for field in one.fields if any(row.scope == "local" for row in field.rows)]
    return Group(
        table,
        Text("\nlearned: precision beyond the prior; times in UTC; moved by shard: version"),
        Text(f"learned by shard {one.shard} alone: {', '.join(sorted(local))}" if local else "shared by all shards"),
    )
