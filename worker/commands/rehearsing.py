"""`headrace replay --to-topic`: recorded records into a topic, with their timing."""

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from worker.config import Config
    from worker.recording import Recording
    from worker.stream.rehearsal import Rehearsed
    from worker.stream.topic_range import TopicRange

_SPAN_MS = 1_000


def speed_of(_context: click.Context, _parameter: click.Parameter, text: str | None) -> float | None:
    """Read a speed; 0 stands for as fast as it goes."""
    from worker.stream import rehearsal

    if text is None:
        return None
    try:
        return rehearsal.speed_of(text) or 0.0
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def send(
    config: "Config",
    source: "Recording | TopicRange",
    topic: str,
    speed: float | None,
    *,
    append: bool,
    restamp: bool,
) -> "Rehearsed":
    """Send records to a topic with their timing; `speed` None is as fast as it goes."""
    import threading

    from worker.commands.sending import progress_bar
    from worker.recording.interleaving import interleave
    from worker.stopping import stop_on_signals
    from worker.stream.rehearsal import Rehearsal

    rehearsal = Rehearsal(config, topic, source.shards, times=source.times, append=append, restamp=restamp)
    # At full speed nobody looks at the clock: partitions take turns by a second, which makes longer runs.
    span_ms = _SPAN_MS if speed is None else 1
    records = interleave(((number, source.partition(number)) for number in source.ranges), span_ms)
    stopped = threading.Event()
    offsets = sum(after - first for first, after in source.ranges.values())
    with (
        stop_on_signals(stopped, config.run.shutdown_seconds),
        progress_bar(offsets, doing="sending", what="records") as progress,
    ):
        return rehearsal.run(records, speed, progress=progress, stopped=stopped)


def tell(rehearsed: "Rehearsed", *, as_json: bool) -> None:
    """Print what was sent."""
    import dataclasses

    import orjson

    if as_json:
        click.echo(orjson.dumps(dataclasses.asdict(rehearsed), option=orjson.OPT_INDENT_2))
        return
    click.echo(
        f"{rehearsed.records:,} records, {rehearsed.span_seconds:,.1f} s of them, in {rehearsed.seconds:,.1f} s to "
        f"topic {rehearsed.topic}; the one that was most late was {rehearsed.latest_seconds:.3f} s late"
    )
    if not rehearsed.complete:
        click.echo(
            "interrupted: what was sent is in the topic, and the same command would not go on there: delete the topic",
            err=True,
        )
