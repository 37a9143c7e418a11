"""`headrace load`: recorded events from files."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from worker.commands.options import config_option, json_option, pack_option

if TYPE_CHECKING:
    from worker.load import EventMapping

EXAMPLES = """\b
Examples:
  headrace load events.jsonl
  headrace load ratings.csv --map user=userId --map item=movieId \\
      --map time=timestamp --type time=s --label 'rating>=4'
  headrace load clicks-*.parquet --split genres='|' --rate 2000 --limit 100000
  headrace load ratings.csv.gz --mapping ratings.toml --sort-by time
  headrace load tuesday                        # a folder of `headrace record`, or its address: every record as it was
  headrace load tuesday --topic clicks         # where the folder holds several
  headrace load clicks.jsonl --as-is           # what `kcat -J` printed: likewise

\b
A mapping file holds the same in TOML, and the options add to it:
  label = "rating>=4"
  only = ["user", "item", "time"]
  [map]
  user = "userId"
  [type]
  time = "s"
  [split]
  genres = "|"
"""

_AS_IS = {"files", "config_path", "topic", "rate", "as_is", "append", "as_json"}  # what goes with a recording


@click.command(epilog=EXAMPLES, short_help="Send recorded events from files.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@config_option
@click.option("--mapping", "mapping_path", type=click.Path(path_type=Path), help="A mapping file in TOML.")
@click.option("--map", "renames", multiple=True, metavar="FIELD=COLUMN", help="The column that becomes this field.")
@click.option(
    "--type", "types", multiple=True, metavar="FIELD=TYPE",
    help="string, integer, number or boolean; for times that are counted in another unit: s, ms or us.",
)  # fmt: skip
@click.option("--split", "splits", multiple=True, metavar="FIELD=SEPARATOR", help="Make a list of a text.")
@click.option(
    "--label", "rule", metavar="RULE", help="What makes the label 1, such as 'rating>=4' or \"action=='buy'\"."
)
@click.option("--only", multiple=True, metavar="FIELD", help="Send this field and no other.  [default: all columns]")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Events a second.  [default: full speed]")
@click.option("--sort-by", metavar="FIELD", help="Send in the order of this field: all files are read into memory.")
@click.option("--limit", type=click.IntRange(min=1), help="The most events that are sent.")
@pack_option
@click.option(
    "--as-is", is_flag=True,
    help="FILE is a recording: each record keeps its partition, key, value, headers and timestamp. A folder always is.",
)  # fmt: skip
@click.option(
    "--topic", help="Of a recording of several topics, the one that is sent.  [default: the one named as events.topic]"
)
@click.option("--append", is_flag=True, help="Send a recording also to a topic that holds records already.")
@click.option("--dry-run", is_flag=True, help="Print the events, a line each, instead of sending them.")
@json_option
@click.pass_context
def load(
    context: click.Context,
    files: tuple[str, ...],
    config_path: Path | None,
    mapping_path: Path | None,
    renames: tuple[str, ...],
    types: tuple[str, ...],
    splits: tuple[str, ...],
    rule: str | None,
    only: tuple[str, ...],
    rate: float | None,
    sort_by: str | None,
    limit: int | None,
    pack_events: int,
    topic: str | None,
    *,
    as_is: bool,
    append: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Send recorded events: JSON lines, CSV, TSV or Parquet, told by their extension, with or without .gz.

    A column becomes the event's field of the same name unless --map renames it. Cells that are empty, null or NaN
    are left out. Events go out in the order of the files, keyed by events.partition_key of the configuration.

    A folder, or an address such as s3://bucket/folder, is a recording (see headrace record): its records are sent as
    they are, to an empty topic of as many partitions.
    """
    import dataclasses
    from itertools import islice

    import orjson

    from worker.commands.sending import print_lines, progress_bar
    from worker.load import load as run
    from worker.load.job import events
    from worker.settings import load as load_config

    if as_is or any("://" in file or Path(file).is_dir() for file in files):
        _load_as_is(context, files, config_path, rate, topic=topic, append=append, as_json=as_json)
        return
    if topic is not None:
        raise click.UsageError("--topic goes with a recording of several: events from other files go to events.topic.")
    if append:
        raise click.UsageError("--append goes with a recording: events from other files are appended anyway.")
    paths = [Path(file) for file in files]
    mapping = _mapping(mapping_path, {
        "map": _pairs("--map", renames),
        "type": _pairs("--type", types),
        "split": _pairs("--split", splits),
        "label": rule,
        "only": list(only),
    })  # fmt: skip
    config = load_config(config_path, os.environ)
    if dry_run:
        print_lines(value for _, value in islice(events(config, paths, mapping, sort_by=sort_by), limit))
        return
    with progress_bar(limit) as progress:
        summary = run(
            config, paths, mapping,
            rate=rate, sort_by=sort_by, limit=limit, pack_events=pack_events, progress=progress,
        )  # fmt: skip
    if as_json:
        click.echo(orjson.dumps(dataclasses.asdict(summary), option=orjson.OPT_INDENT_2))
    else:
        click.echo(
            f"{summary.events:,} events of {summary.files} files in {summary.seconds:.1f} s "
            f"({summary.events_per_second:,.0f} a second) to topic {summary.topic}, {summary.partitions} partitions"
        )


def _load_as_is(
    context: click.Context,
    files: tuple[str, ...],
    config_path: Path | None,
    rate: float | None,
    *,
    topic: str | None,
    append: bool,
    as_json: bool,
) -> None:
    import dataclasses

    import orjson

    from worker.commands.sending import progress_bar
    from worker.load.as_is import load_as_is
    from worker.recording import Recording
    from worker.settings import load as load_config

    given = [
        option.opts[0]
        for option in context.command.params
        if option.name not in _AS_IS
        and context.get_parameter_source(option.name or "") is click.core.ParameterSource.COMMANDLINE
    ]
    if given:
        raise click.UsageError(f"a recording is sent as it is: leave out {', '.join(given)}.")
    if len(files) != 1:
        raise click.UsageError("a recording is sent by itself: name one folder or file.")
    config = load_config(config_path, os.environ)
    recording = Recording(files[0], topic, likely=config.events.topic)
    for warning in recording.warnings:
        click.echo(f"warning: {warning}", err=True)
    with progress_bar(recording.count, what="records") as progress:
        summary = load_as_is(config, recording, append=append, rate=rate, progress=progress)
    if as_json:
        click.echo(orjson.dumps(dataclasses.asdict(summary), option=orjson.OPT_INDENT_2))
        return
    click.echo(
        f"{summary.events:,} records of {summary.files} files in {summary.seconds:.1f} s "
        f"({summary.events_per_second:,.0f} a second), as they are, to topic {summary.topic}, "
        f"{summary.partitions} partitions"
    )
    if summary.restamped:
        click.echo(f"warning: {summary.restamped:,} had no timestamp, and got the moment of sending", err=True)


def _pairs(option: str, texts: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise click.BadParameter(f"{text!r} is not of the form NAME=VALUE", param_hint=option)
        pairs[name] = value
    return pairs


def _mapping(path: Path | None, given: dict[str, Any]) -> "EventMapping":
    """Read the mapping file and let the options add to it."""
    from worker.load.mapping_file import mapping_of

    return mapping_of(path, given)
