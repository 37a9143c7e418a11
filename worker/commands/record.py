"""`headrace record`: a topic into files."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from worker.commands.options import config_option, json_option
from worker.commands.replaying import time_of

if TYPE_CHECKING:
    from worker.stream.recorder import Summary

EXAMPLES = """\b
Examples:
  headrace record --to tuesday
  headrace record clicks --to s3://bucket/clicks --from-timestamp 2025-01-07 --to-timestamp 2025-01-08
  headrace record clicks --to part --partition 3 --from-offset 1000 --to-offset 2000
  headrace record clicks --to tuesday --json | jq '.partitions[].records'

\b
What was recorded is read, sent and looked at by others:
  headrace load tuesday
  duckdb -c "select * from 'tuesday/topics/clicks/*/*.parquet' limit 3"
"""

INTERRUPTED = 130  # as worker.cli, which imports nothing of ours


@click.command(epilog=EXAMPLES, short_help="Record a topic, or a range of it, into files.")
@click.argument("topic", required=False)
@click.option("--to", "to", required=True, metavar="DIR", help="The folder, or an address such as s3://bucket/folder.")
@config_option
@click.option("--partition", "partitions", multiple=True, type=click.IntRange(min=0), help="Only this one; repeatable.")
@click.option("--from-offset", type=click.IntRange(min=0), help="The first offset, of each partition.")
@click.option("--to-offset", type=click.IntRange(min=0), help="The offset after the last, of each partition.")
@click.option(
    "--from-timestamp", callback=time_of, metavar="TIME",
    help="From each partition's first record of this time or later on; ISO 8601, in UTC, or milliseconds since 1970.",
)  # fmt: skip
@click.option("--to-timestamp", callback=time_of, metavar="TIME", help="Up to the first record of this time or later.")
@click.option("--follow", is_flag=True, help="Go on at the end of the topic, until stopped.")
@click.option(
    "--file-records", type=click.IntRange(min=1), help="The most records of a file.  [default: 1048576, or 256 MiB]"
)
@json_option
@click.pass_context
def record(
    context: click.Context,
    topic: str | None,
    to: str,
    config_path: Path | None,
    partitions: tuple[int, ...],
    from_offset: int | None,
    to_offset: int | None,
    from_timestamp: int | None,
    to_timestamp: int | None,
    file_records: int | None,
    *,
    follow: bool,
    as_json: bool,
) -> None:
    """Record a topic: TOPIC, or the event topic of the configuration.

    Each record keeps its key, value, headers, timestamp and offset, to the byte. Files are Parquet, laid out and named
    as the S3 sink of Kafka Connect does. A file that has its name is whole: interrupted at any moment, the same command
    goes on. Run again later, it adds what has come since. Only what is committed is recorded; without another end, up
    to the end of the topic as it is at the start.
    """
    import dataclasses
    import threading

    import orjson

    from worker.commands.sending import progress_bar
    from worker.recording.plan import Asked
    from worker.recording.writing import Limits
    from worker.settings import load
    from worker.stopping import stop_on_signals
    from worker.stream.recorder import Recorder

    if from_offset is not None and from_timestamp is not None:
        raise click.UsageError("--from-offset and --from-timestamp are two beginnings: give one of them.")
    if to_offset is not None and to_timestamp is not None:
        raise click.UsageError("--to-offset and --to-timestamp are two ends: give one of them.")
    if follow and (to_offset is not None or to_timestamp is not None):
        raise click.UsageError("--follow has no end: leave out --to-offset and --to-timestamp.")
    _check_order("offset", from_offset, to_offset)
    _check_order("timestamp", from_timestamp, to_timestamp)
    config = load(config_path, os.environ)
    asked = Asked(
        partitions=tuple(sorted(set(partitions))) or None,
        from_offset=from_offset,
        to_offset=to_offset,
        from_timestamp=from_timestamp,
        to_timestamp=to_timestamp,
    )
    recorder = Recorder(
        config, topic or config.events.topic, to, asked,
        follow=follow, limits=None if file_records is None else Limits(records=file_records),
    )  # fmt: skip
    stopped = threading.Event()
    with (
        stop_on_signals(stopped, config.run.shutdown_seconds),
        progress_bar(recorder.total, doing="recording", what="offsets") as progress,
    ):
        summary = recorder.run(progress=progress, stopped=stopped)
    for warning in summary.warnings:
        click.echo(f"warning: {warning}", err=True)
    if as_json:
        click.echo(orjson.dumps(dataclasses.asdict(summary), option=orjson.OPT_INDENT_2))
    else:
        click.echo(_told(summary))
    if not summary.complete:
        click.echo("interrupted: the same command goes on from here", err=True)
        context.exit(INTERRUPTED)


def _check_order(what: str, begin: int | None, end: int | None) -> None:
    if begin is not None and end is not None and begin >= end:
        raise click.UsageError(f"--from-{what} must lie before --to-{what}: this range is empty.")


def _told(summary: "Summary") -> str:
    held = sum(part.records for part in summary.partitions)
    files = sum(part.files for part in summary.partitions)
    head = (
        f"{summary.records:,} records in {summary.seconds:.1f} s ({summary.records_per_second:,.0f} a second) "
        f"of topic {summary.topic}; {summary.location} holds {held:,} in {files:,} files"
        if summary.records
        else f"nothing new in topic {summary.topic}; {summary.location} holds {held:,} records in {files:,} files"
    )
    lines = [
        f"  partition {part.partition}: {part.records:,} records, "
        f"offsets {part.first_offset:,} to {part.next_offset - 1:,}"
        if part.next_offset > part.first_offset
        else f"  partition {part.partition}: nothing"
        for part in summary.partitions
    ]
    return "\n".join([head, *lines])
