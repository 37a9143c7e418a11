"""`headrace snapshot`: what stands in the model topic."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from worker.commands.options import Command, config_option, json_option

if TYPE_CHECKING:
    from worker.snapshots import Kept, Shown, Verdict

LIST_EXAMPLES = """\b
Examples:
  headrace snapshot list
  headrace snapshot list --shard 3 --json
"""

SHOW_EXAMPLES = """\b
Examples:
  headrace snapshot show
  headrace snapshot show --shard 0 --version 42
  headrace snapshot show --json | jq '.[].manifest.state.events'
"""

VERIFY_EXAMPLES = """\b
Examples:
  headrace snapshot verify
  headrace snapshot verify --shard 3 --json
"""

LOG_EXAMPLES = """\b
Examples:
  headrace snapshot log --out live.json && headrace report live.json
  headrace snapshot log --name "last week" --out week.json --json
"""


def shard_option(command: Command) -> Command:
    """Add `--shard`."""
    return click.option("--shard", type=click.IntRange(min=0), help="Only this one.  [default: all shards]")(command)


@click.group(short_help="List, show and verify the versions of the model.")
def snapshot() -> None:
    """Look at the versions of the model that the model topic holds; changes nothing."""


@snapshot.command("list", epilog=LIST_EXAMPLES)
@config_option
@shard_option
@json_option
def list_(config_path: Path | None, shard: int | None, *, as_json: bool) -> None:
    """Tell of every shard which versions are kept, and what the last one holds.

    Rows and events are those of the whole shard, bytes those of the last version.
    """
    import orjson

    from worker import snapshots
    from worker.settings import load

    found = snapshots.kept(load(config_path, os.environ), shard)
    if as_json:
        click.echo(orjson.dumps([_listed(one) for one in found], option=orjson.OPT_INDENT_2))
        return
    head = ("shard", "versions", "bases", "created", "rows", "events", "bytes")
    lines = [head, *(_line(one) for one in found)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        told = "  ".join(
            cell.ljust(width) if name in ("versions", "bases", "created") else cell.rjust(width)
            for name, cell, width in zip(head, line, widths, strict=True)
        )
        click.echo(told.rstrip())


@snapshot.command(epilog=SHOW_EXAMPLES)
@config_option
@shard_option
@click.option("--version", type=click.IntRange(min=1), help="Which one.  [default: the last]")
@json_option
def show(config_path: Path | None, shard: int | None, version: int | None, *, as_json: bool) -> None:
    """Show a version: its manifest, and how well the model predicted up to it.

    JSON is a list with one object for each shard.
    """
    import orjson

    from worker import snapshots
    from worker.settings import load

    found = snapshots.show(load(config_path, os.environ), shard, version)
    if as_json:
        click.echo(orjson.dumps([_shown(one) for one in found], option=orjson.OPT_INDENT_2))
        return
    click.echo("\n\n".join(_told(one) for one in found))


@snapshot.command(epilog=VERIFY_EXAMPLES)
@config_option
@shard_option
@json_option
@click.pass_context
def verify(context: click.Context, config_path: Path | None, shard: int | None, *, as_json: bool) -> None:
    """Read all versions that are kept, and verify them.

    Every record is held against its checksum, every version against its manifest and the one before it; the shard is
    rebuilt from its oldest base, and its digest compared at every version.

    Exit code: 0 all are sound, 3 no broker answers, 4 one is damaged.
    """
    import dataclasses

    import orjson

    from worker import snapshots
    from worker.commands.sending import progress_bar
    from worker.errors import IncompatibleDataError
    from worker.settings import load

    config = load(config_path, os.environ)
    with progress_bar(snapshots.records(config, shard), doing="verifying", what="records") as progress:
        verdicts = list(snapshots.check(config, shard, progress))
    if as_json:
        click.echo(orjson.dumps([dataclasses.asdict(one) for one in verdicts], option=orjson.OPT_INDENT_2))
    else:
        for verdict in verdicts:
            click.echo(_judged(verdict))
    context.exit(IncompatibleDataError.exit_code if any(verdict.damage for verdict in verdicts) else 0)


@snapshot.command(epilog=LOG_EXAMPLES)
@config_option
@click.option("--name", default="live", show_default=True, help="Of the run, in reports.")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path, dir_okay=False), default=Path("run.json"), show_default=True,
    help="The run log.",
)  # fmt: skip
@json_option
def log(config_path: Path | None, name: str, out: Path, *, as_json: bool) -> None:
    """Write what live workers measured, as a run log for `headrace report`, out of the versions that are kept.

    Every version says how well its shard predicted until then; what it adds to the one before is what was measured in
    between. What was learned before the oldest version that is kept is not in it.
    """
    import orjson

    from worker import snapshots
    from worker.commands.sending import progress_bar
    from worker.measured import measured
    from worker.settings import load

    config = load(config_path, os.environ)
    with progress_bar(snapshots.records(config), doing="reading", what="records") as progress:
        run = measured(config, name, progress)
    run.write(out)
    loss = run.totals.loss
    if as_json:
        told = {"log": str(out), "events": run.events, "loss": loss, "windows": len(run.windows), "alarms": run.alarms}
        click.echo(orjson.dumps(told, option=orjson.OPT_INDENT_2))
    else:
        click.echo(
            f"{out}: {run.events:,} events in {len(run.windows):,} windows, "
            f"loss {'unknown' if loss is None else f'{loss:.4f}'}; headrace report {out} shows it"
        )


def _line(kept: "Kept") -> tuple[str, ...]:
    from worker.commands.sending import as_text

    last = kept.last
    if last is None:
        return (str(kept.shard), "none", "", "", "0", "0", "0")
    bases = ", ".join(
        f"{base.version}" if base.version == base.completed else f"{base.version} to {base.completed}"
        for base in last.bases
    )
    return (
        str(kept.shard), f"{kept.oldest_version} to {last.version}", bases, as_text(last.created),
        f"{last.state.rows:,}", f"{last.state.events:,}", f"{sum(part.bytes for part in last.records):,}",
    )  # fmt: skip


def _listed(kept: "Kept") -> dict[str, Any]:
    last = kept.last
    return {
        "shard": kept.shard,
        "oldest_version": kept.oldest_version,
        "last_version": last.version if last else 0,
        "bases": [base.model_dump(mode="json") for base in last.bases] if last else [],
        "created": last.created if last else None,
        "rows": last.state.rows if last else 0,
        "events": last.state.events if last else 0,
        "rejected": last.state.rejected if last else {},
        "skipped": last.state.skipped if last else {},
        "bytes": sum(part.bytes for part in last.records) if last else 0,
        "next_offset": last.input.next_offset if last else None,
    }


def _shown(shown: "Shown") -> dict[str, Any]:
    progress = shown.progress
    return {
        "manifest": shown.manifest.model_dump(mode="json"),
        "chain": shown.chain,
        "offset": shown.offset,
        "manifest_offset": shown.manifest_offset,
        "loss": progress.loss,
        "constant_log_loss": progress.constant_loss if progress.logistic else None,
        "auc": progress.auc if progress.logistic else None,
        "auc_error": progress.auc_error if progress.logistic else None,
    }


def _told(shown: "Shown") -> str:
    from worker.commands.sending import as_text

    manifest, progress = shown.manifest, shown.progress
    state = manifest.state
    rejected = ", ".join(f"{reason} {count:,}" for reason, count in state.rejected.items())
    quality = (
        f"log loss {progress.loss:.4f} (of the best constant {progress.constant_loss:.4f}), "
        f"AUC {progress.auc:.4f} ± {progress.auc_error:.4f}"
        if progress.logistic
        else f"half the squared error {progress.loss:.6g}"
    )
    facts = [
        ("made", f"{as_text(manifest.created)} by group {manifest.group}"),
        (
            "learned",
            f"{manifest.input.topic} [{manifest.input.partition}] before offset {manifest.input.next_offset:,}",
        ),
        ("events", f"{state.events:,}, and {state.unstable:,} too unstable to learn from"),
        ("rejected", f"{sum(state.rejected.values()):,}" + (f": {rejected}" if rejected else "")),
        ("skipped", ", ".join(f"{reason} {count:,}" for reason, count in state.skipped.items()) or "none"),
        ("quality", f"{quality}, each event predicted before it was learned"),
        ("event time", "up to " + as_text(manifest.watermark) if manifest.watermark is not None else "none"),
        ("rows", f"{state.rows:,}"),
        ("servable", "yes" if manifest.servable else f"no: {'; '.join(manifest.reasons)}"),
        ("digest", state.digest),
        ("parent", f"version {manifest.parent}, {manifest.parent_chain}" if manifest.parent else "none"),
        ("link", shown.chain),
        ("bases", ", ".join(f"{base.version} to {base.completed}" for base in manifest.bases) or "none"),
        ("features", ", ".join(manifest.learning.get("features", {}))),
        ("offsets", f"{shown.offset:,} to {shown.manifest_offset:,} of the model topic's partition"),
        *(
            (f"record {part.sequence}", f"{part.kind}, {part.rows:,} rows, {part.bytes:,} bytes, {part.checksum}")
            for part in manifest.records
        ),
    ]
    head = f"shard {manifest.shard}, version {manifest.version} of the model {manifest.model}"
    return "\n".join([head, *(f"  {name:<11} {fact}" for name, fact in facts)])


def _judged(verdict: "Verdict") -> str:
    sound = f"versions {verdict.first_version} to {verdict.last_version}" if verdict.last_version else "no versions"
    read = f"{verdict.records:,} records, {verdict.bytes:,} bytes"
    if verdict.damage is None:
        return f"shard {verdict.shard}: ok, {sound}, {read}"
    at = f"version {verdict.damaged_version}" if verdict.damaged_version is not None else "a record"
    return f"shard {verdict.shard}: {at} is damaged: {verdict.damage} (sound before it: {sound})"
