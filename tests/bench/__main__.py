"""`make bench`: one table, and build/bench.json. `ONLY=<part>` runs one part and keeps the others' last results."""

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from deploy.machine import machine
from tests.bench import (
    backtest,
    ceilings,
    commit,
    drift,
    freshness,
    memory,
    merge,
    options,
    peers,
    quality,
    recording,
    replay,
    restore,
    throughput,
)
from tests.bench.size import Size
from worker.warm import compile_all

PARTS: dict[str, tuple[Callable[[Size], dict[str, Any]], dict[str, str]]] = {
    "ceilings": (ceilings.measure, ceilings.INCLUDES),
    "throughput": (throughput.measure, throughput.INCLUDES),
    "peers": (peers.measure, peers.INCLUDES),
    "quality": (quality.measure, quality.INCLUDES),
    "commit": (commit.measure, commit.INCLUDES),
    "restore": (restore.measure, restore.INCLUDES),
    "replay": (replay.measure, replay.INCLUDES),
    "freshness": (freshness.measure, freshness.INCLUDES),
    "memory": (memory.measure, memory.INCLUDES),
    "merge": (merge.measure, merge.INCLUDES),
    "options": (options.measure, options.INCLUDES),
    "drift": (drift.measure, drift.INCLUDES),
    "recording": (recording.measure, recording.INCLUDES),
    "backtest": (backtest.measure, backtest.INCLUDES),
}
RESULT = Path("build/bench.json")
_SMALL = Size(rounds=1, share=0.02, whole=True)


def main() -> int:
    """Measure, print and write; gives the exit code."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", choices=PARTS, help="measure this part alone")
    parser.add_argument("--peers", default="", help="optional peers to measure too, separated by commas: torch")
    parser.add_argument("--small", action="store_true", help="one round of few events: shows that it runs, no more")
    told = parser.parse_args()
    size = _SMALL if told.small else Size(whole=told.only is None)
    size = Size(rounds=size.rounds, share=size.share, whole=size.whole, peers=frozenset(told.peers.split(",")))
    results: dict[str, Any] = json.loads(RESULT.read_text()) if told.only and RESULT.exists() else {}
    results["machine"] = machine()
    compile_all()
    failed = 0
    for name in [told.only] if told.only else PARTS:
        print(f"bench: {name}", file=sys.stderr)
        began = time.monotonic()
        try:
            results[name] = PARTS[name][0](size)
        except Exception as error:  # noqa: BLE001 - the other parts are measured all the same
            traceback.print_exc()
            results[name], failed = {"failed": f"{type(error).__name__}: {error}"}, 1
        results.setdefault("seconds", {})[name] = round(time.monotonic() - began, 1)
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(json.dumps(results, indent=2) + "\n")  # after each part: who interrupts the next keeps this
    _print(results)
    print(f"written to {RESULT}")
    return failed


def _print(results: dict[str, Any]) -> None:
    for part, (_, includes) in PARTS.items():
        if part not in results:
            continue
        table = Table(title=f"{part}: {results['machine']}", title_justify="left")
        for title in ("what", "figure", "includes"):
            table.add_column(title, overflow="fold")
        said: set[str] = set()
        for name, value in _flat(results[part]):
            what = next((text for pattern, text in includes.items() if fnmatch(name, pattern)), "")
            table.add_row(name, _written(value), "" if what in said else what)
            said.add(what)
        Console(width=140).print(table)


def _written(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.4g}"


def _flat(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in tree.items():
        rows += _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, value)]
    return rows


if __name__ == "__main__":
    sys.exit(main())
