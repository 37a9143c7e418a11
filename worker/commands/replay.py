"""`headrace replay`: the same engine on recorded events."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from worker.commands import rehearsing
from worker.commands.options import config_option, json_option
from worker.commands.replaying import open_chain, open_source, source_options, table, threads_of, time_of

if TYPE_CHECKING:
    from worker.config import Config
    from worker.recording import Recording
    from worker.replay import Result
    from worker.stream.topic_range import TopicRange

EXAMPLES = """\b
Examples:
  headrace replay tuesday                            (what these settings make of recorded events)
  HEADRACE_MODEL__HALF_LIFE=7d headrace replay tuesday --name fading --out runs/fading
  headrace replay tuesday --as-recorded              (the published model, learned again)
  headrace replay tuesday --from-version 40          (go on from version 40 of every shard)
  headrace replay --from-timestamp 2025-01-07        (from the event topic itself)
  headrace replay tuesday --model-topic clicks.replayed
  headrace replay tuesday --speed 60x --to-topic rehearsal

\b
Interrupted, a replay has written nothing: start it again. A rehearsal (--to-topic) has sent what it
has sent, and is not taken up: it refuses a topic that holds records, so nothing is there twice.
"""

INTERRUPTED = 130  # as worker.cli, which imports nothing of ours


@click.command(epilog=EXAMPLES, short_help="Learn from recorded events: afresh, as recorded, or into a topic again.")
@source_options
@config_option
@click.option("--partition", "partitions", multiple=True, type=click.IntRange(min=0), help="Only this one; repeatable.")
@click.option(
    "--from-timestamp", callback=time_of, metavar="TIME",
    help="From each partition's first record of this time or later on; ISO 8601, in UTC, or milliseconds since 1970.",
)  # fmt: skip
@click.option("--to-timestamp", callback=time_of, metavar="TIME", help="Up to the first record of this time or later.")
@click.option(
    "--fresh", "mode", flag_value="fresh", default=True, help="Begin with nothing, all shards in step (default)."
)
@click.option("--as-recorded", "mode", flag_value="as recorded", help="Follow the published versions, and compare.")
@click.option("--from-version", type=click.IntRange(min=1), help="Go on from this published version of every shard.")
@click.option(
    "--from-version-at", callback=time_of, metavar="TIME",
    help="Go on from the last version of every shard that was made by this time.",
)  # fmt: skip
@click.option("--to-version", type=click.IntRange(min=1), help="As recorded, end with this version of every shard.")
@click.option("--name", default="replay", show_default=True, help="Of the run, in reports.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write what was measured here: run.json, report.html.",
)
@click.option("--model-topic", help="Publish the shards as they are at the end, as a model of its own, for followers.")
@click.option("--to-topic", help="Learn nothing: send the records to this topic, byte for byte, with their timing.")
@click.option(
    "--speed", callback=rehearsing.speed_of, metavar="60x", help="Of --to-topic: 60x, 0.5x, max.  [default: 1x]"
)
@click.option("--append", is_flag=True, help="Of --to-topic: add to what the topic holds.")
@click.option("--restamp", is_flag=True, help="Of --to-topic: timestamps of the moment of sending.")
@json_option
@click.pass_context
def replay(
    context: click.Context,
    recording: str | None,
    topic: str | None,
    model_recording: str | None,
    threads: int | None,
    config_path: Path | None,
    partitions: tuple[int, ...],
    from_timestamp: int | None,
    to_timestamp: int | None,
    mode: str,
    from_version: int | None,
    from_version_at: int | None,
    to_version: int | None,
    name: str,
    out: Path | None,
    model_topic: str | None,
    to_topic: str | None,
    speed: float | None,
    *,
    append: bool,
    restamp: bool,
    as_json: bool,
) -> None:
    """Replay recorded events, as fast as the machine allows: those of RECORDING, or of the event topic.

    Each event is predicted, then learned, as a worker would; the same events and settings give the same bits, whatever
    the number of threads. --fresh learns by the configuration, and shards fold one another in at the same moments of
    the log's time, every commit.interval_seconds. --as-recorded learns what was published, version by version.
    """
    from worker.settings import load

    goes_on = from_version is not None or from_version_at is not None
    recorded, paced = mode == "as recorded", speed is not None or append or restamp
    learns = recorded or goes_on or out is not None or model_topic is not None
    _require_together(
        (recorded and goes_on, "--as-recorded begins as far back as it can: leave out --from-version"),
        (from_version is not None and from_version_at is not None, "--from-version and --from-version-at are two"),
        (not recorded and to_version is not None, "--to-version is of --as-recorded"),
        (to_topic is None and paced, "--speed, --append and --restamp are of --to-topic: name the topic"),
        (to_topic is not None and learns, "--to-topic sends records and learns nothing: leave out what is of learning"),
        (
            model_recording is not None and not recorded and not goes_on,
            "--model-recording is of --as-recorded and --from-version",
        ),
        (bool(partitions) and model_topic is not None, "--model-topic takes a whole model: leave out --partition"),
    )
    config = load(config_path, os.environ)
    source, where = open_source(
        config, recording, topic, begin=from_timestamp, end=to_timestamp, partitions=partitions, lean=to_topic is None
    )
    if to_topic is not None:
        rehearsed = rehearsing.send(
            config, source, to_topic, 1.0 if speed is None else speed or None, append=append, restamp=restamp
        )
        rehearsing.tell(rehearsed, as_json=as_json)
        context.exit(0 if rehearsed.complete else INTERRUPTED)
    result = _learn(
        config, source, where, mode, model_recording, threads, name, model_topic,
        from_version=from_version, from_time=from_version_at, to_version=to_version,
    )  # fmt: skip
    if out is not None:
        from worker.report.page import write_report

        result.log.write(out / "run.json")
        write_report(out / "report.html", [result.log])
    _tell(result, out, model_topic, as_json=as_json)


def _require_together(*wrong: tuple[bool, str]) -> None:
    for is_wrong, why in wrong:
        if is_wrong:
            raise click.UsageError(why + ".")


def _learn(
    config: "Config",
    source: "Recording | TopicRange",
    where: str,
    mode: str,
    model_recording: str | None,
    threads: int | None,
    name: str,
    model_topic: str | None,
    *,
    from_version: int | None,
    from_time: int | None,
    to_version: int | None,
) -> "Result":
    from contextlib import ExitStack

    from worker import warm
    from worker.commands.sending import progress_bar
    from worker.replay import Replay
    from worker.replay.publishing import Target

    offsets = sum(after - first for first, after in source.ranges.values())
    with ExitStack() as stack:
        chain = None
        if mode == "as recorded" or from_version is not None or from_time is not None:
            chain = stack.enter_context(open_chain(config, model_recording))
        target = Target.of(config, model_topic, source.shards) if model_topic is not None else None
        warm.compile_all()
        # Where it goes on from a version, how much is left is not known before that is read.
        with progress_bar(offsets if chain is None else None, doing="replaying", what="records") as progress:
            result = Replay(
                config, source, mode="as recorded" if mode == "as recorded" else "fresh", chain=chain,
                threads=threads_of(threads, source.shards), name=name, where=where, progress=progress,
                from_version=from_version, from_time=from_time, to_version=to_version,
            ).run()  # fmt: skip
        if target is not None:
            with progress_bar(None, doing="publishing", what="rows") as progress:
                target.publish(result.states, progress)
    return result


def _tell(result: "Result", out: Path | None, model_topic: str | None, *, as_json: bool) -> None:
    import orjson

    log = result.log
    if as_json:
        click.echo(orjson.dumps(_as_data(result), option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS))
        return
    totals = log.totals
    click.echo(
        f"{log.name} ({log.mode}) of {log.source}: {log.events:,} events of {log.shards} shards in {log.seconds:.1f} s "
        f"({log.events_per_second:,.0f} a second)"
    )
    quality = [("log loss" if log.loss == "logistic" else "half the squared error", totals.loss)]
    quality += [
        ("normalized entropy", totals.normalized_entropy),
        ("AUC", totals.auc),
        ("calibration", totals.calibration),
    ]
    click.echo(", ".join(f"{what} {value:.4f}" for what, value in quality if value is not None))
    for what, counts in (("rejected", log.rejected), ("skipped", log.skipped)):
        if counts:
            click.echo(f"{what}: " + ", ".join(f"{reason} {count:,}" for reason, count in counts.items()))
    if log.alarms:
        click.echo(f"alarms of drift: {log.alarms:,}")
    lines: list[tuple[str, ...]] = [
        (
            str(shard), str(state.version), f"{state.progress.events:,}", f"{len(state.model.table):,}",
            f"{state.next_offset:,}", log.digests[shard],
        )
        for shard, state in sorted(result.states.items())
    ]  # fmt: skip
    click.echo(table(("shard", "versions", "events", "rows", "next offset", "digest"), lines, left=("digest",)))
    if result.verdicts:
        click.echo("every digest is the one that was published")
    for shard, refused in sorted(result.frozen.items()):
        faults = "; ".join(fault.text for fault in refused.faults)
        click.echo(
            f"shard {shard} is frozen at offset {refused.first_offset}: {faults}, at "
            f"offsets up to {refused.last_offset}. Nothing from there on was learned (quality.freeze_resume); "
            "events.skip passes ranges of offsets over"
        )
    if result.taken:
        others = ", ".join(map(str, result.taken))
        click.echo(f"what the shards {others} added was taken as published: their events are not there")
    if out is not None:
        click.echo(f"written to {out / 'run.json'}; to look at: {out / 'report.html'}")
    if model_topic is not None:
        click.echo(f"published to {model_topic}: `HEADRACE_MODEL__TOPIC={model_topic} headrace follow --once` shows it")


def _as_data(result: "Result") -> dict[str, Any]:
    from worker.commands.verify import as_data

    return {
        **result.log.model_dump(mode="json", exclude={"windows", "throughput", "reliability"}),
        "states": {
            str(shard): {
                "version": state.version,
                "events": state.progress.events,
                "rows": len(state.model.table),
                "next_offset": state.next_offset,
                "digest": result.digests[shard],
            }
            for shard, state in sorted(result.states.items())
        },
        "verdicts": [as_data(one) for one in result.verdicts],
        "taken": result.taken,
        "frozen": {
            str(shard): {
                "first_offset": refused.first_offset,
                "last_offset": refused.last_offset,
                "faults": {fault.reason: fault.text for fault in refused.faults},
            }
            for shard, refused in sorted(result.frozen.items())
        },
    }
