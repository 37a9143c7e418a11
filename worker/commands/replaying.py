"""What `headrace replay` and `headrace verify` have in common: where events and versions come from."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from worker.config import Config
    from worker.recording import Recording
    from worker.replay.chain import Chain
    from worker.stream.topic_range import TopicRange

Command = TypeVar("Command", bound=Callable[..., Any])


def time_of(_context: click.Context, _parameter: click.Parameter, text: str | None) -> int | None:
    """Read a time that is given as an option: milliseconds since 1970."""
    from worker.recording.times import to_milliseconds

    if text is None:
        return None
    try:
        return to_milliseconds(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def source_options(command: Command) -> Command:
    """Add RECORDING, `--topic`, the bounds, `--model-recording` and `--threads`."""
    for option in reversed(
        [
            click.argument("recording", required=False),
            click.option(
                "--topic",
                help="Of events: the one in RECORDING, where it holds several; in Kafka, without RECORDING.  "
                "[default: events.topic]",
            ),
            click.option(
                "--model-recording", metavar="DIR",
                help="A recording of the model topic, made by `headrace record`.  [default: model.topic in Kafka]",
            ),
            click.option(
                "--threads", type=click.IntRange(1, 256),
                help="How many work; the result is the same for any number.  [default: one for each processor]",
            ),
        ]
    ):  # fmt: skip
        command = option(command)
    return command


def threads_of(threads: int | None, shards: int) -> int:
    """Give the number of threads: what was asked for, or as many as there are processors and have something to do."""
    if threads is not None:
        return threads
    return max(1, min(len(os.sched_getaffinity(0)), 2 * shards))


def open_source(
    config: "Config",
    recording: str | None,
    topic: str | None,
    *,
    begin: int | None = None,
    end: int | None = None,
    partitions: tuple[int, ...] = (),
    lean: bool = True,
) -> "tuple[Recording | TopicRange, str]":
    """Open the events, and say where they come from, for people; with `lean`, without their keys and headers."""
    chosen = sorted(set(partitions)) or None
    if recording is None:
        from worker.stream.topic_range import TopicRange

        name = topic or config.events.topic
        return TopicRange(config, name, begin=begin, end=end, partitions=chosen), f"topic {name}"
    from worker.recording import Recording

    found = _warned(
        Recording(
            recording, topic, likely=config.events.topic, begin=begin, end=end, partitions=chosen, lean=lean
        )
    )  # fmt: skip
    return found, str(found.location)


def open_chain(config: "Config", model_recording: str | None) -> "AbstractContextManager[Chain]":
    """Open the published versions."""
    from worker.replay.chain import Chain

    if model_recording is None:
        return Chain.published(config)
    from worker.recording import Recording

    return Chain.recorded(config, _warned(Recording(model_recording, likely=config.model.topic)))


def _warned(recording: "Recording") -> "Recording":
    """Tell of what may be missing."""
    for warning in recording.warnings:
        click.echo(f"warning: {warning}", err=True)
    return recording


def table(head: tuple[str, ...], lines: list[tuple[str, ...]], left: tuple[str, ...] = ()) -> str:
    """Set cells in columns; those named are left-aligned, the others right-aligned."""
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if name in left else cell.rjust(width)
            for name, cell, width in zip(head, line, widths, strict=True)
        ).rstrip()
        for line in (head, *lines)
    )
