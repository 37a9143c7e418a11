"""`make bench`: one table, and build/bench.json. `ONLY=<part>` runs one part and keeps the others' last results."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from deploy.machine import machine
from tests.bench import merge, quality, throughput

PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "throughput": throughput.measure,
    "quality": quality.measure,
    "merge": merge.measure,
}
RESULT = Path("build/bench.json")


def main() -> int:
    """Measure, print and write; gives the exit code."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", choices=PARTS, help="measure this part alone")
    only = parser.parse_args().only
    results: dict[str, Any] = json.loads(RESULT.read_text()) if only and RESULT.exists() else {}
    results["machine"] = machine()
    for name in [only] if only else PARTS:
        print(f"bench: {name}", file=sys.stderr)
        results[name] = PARTS[name]()
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(json.dumps(results, indent=2) + "\n")
    _print(results)
    print(f"written to {RESULT}")
    return 0


def _print(results: dict[str, Any]) -> None:
    table = Table(title=results["machine"], show_header=False)
    for name, value in _flat(results):
        if name != "machine":
            table.add_row(name, f"{value:,.4g}" if isinstance(value, float) else str(value))
    Console(width=100).print(table)


def _flat(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in tree.items():
        rows += _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, value)]
    return rows


if __name__ == "__main__":
    sys.exit(main())
