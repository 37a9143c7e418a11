"""The tables of README.md and the schema that come from the code; `python -m tests.docs.generate` writes them anew.

A table stands between `<!-- made from the code: NAME -->` and `<!-- end -->`. `test_readme.py` fails when one is old,
`test_run_log.py` when the schema is.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click
from prometheus_client.metrics import MetricWrapperBase
from pydantic.fields import FieldInfo

from worker.cli import headrace
from worker.evaluation.runlog import RunLog
from worker.learning import Feature
from worker.observe.metrics import LABELS, FollowerMetrics, WorkerMetrics, new_registry
from worker.setting_names import PASSTHROUGH, sections

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
RUN_LOG = ROOT / "schemas" / "runs" / "run_log.v1.schema.json"
BLOCK = re.compile(r"(<!-- made from the code: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
BOUNDS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}


def written(text: str) -> str:
    """Give the README with every table as the code has it now."""
    tables = {"settings": settings, "commands": commands, "metrics": metrics, "labels": labels}
    return BLOCK.sub(lambda found: f"{found[1]}\n{tables[found[2]]()}\n{found[3]}", text)


def run_log_schema() -> str:
    """Give the schema of a run log."""
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:headrace:run_log:v1",
    }
    return json.dumps(head | RunLog.model_json_schema() | {"title": "Log of a run, format 1"}, indent=1) + "\n"


def settings() -> str:
    """Give every setting: its name, type, default and meaning."""
    rows = []
    for section, kind in {**sections(), "features.NAME": Feature}.items():
        for name, field in kind.model_fields.items():
            meaning = _cell(field.description)
            rows.append((f"`{section}.{name}`", _type(field, name), _default(getattr(kind(), name)), meaning))
    return _table(("Setting", "Type", "Default", "Meaning"), rows)


def commands() -> str:
    """Give every command with its options and what it does."""
    rows = []
    for path, command in walk():
        options = [
            "/".join(parameter.opts) if isinstance(parameter, click.Option) else parameter.make_metavar(_context())
            for parameter in command.params
        ]
        rows.append((f"`{path}`", " ".join(f"`{option}`" for option in options) or "none", _about(command)))
    return _table(("Command", "Arguments and options", "What it does"), rows)


def metrics() -> str:
    """Give every metric of a worker and of a follower."""
    rows: dict[str, tuple[str, ...]] = {}
    for kind in (WorkerMetrics, FollowerMetrics):
        registry = new_registry()
        kind(registry)
        for metric in registry._collector_to_names:
            if isinstance(metric, MetricWrapperBase):
                name = metric._name + {"counter": "_total", "info": "_info"}.get(metric._type, "")
                labels = ", ".join(f"`{label}`" for label in metric._labelnames) or "none"
                if metric._type == "info":
                    labels = "the versions"
                rows[name] = (f"`{name}`", metric._type, labels, _cell(metric._documentation))
    return _table(("Metric", "Type", "Labels", "Meaning"), rows.values())


def labels() -> str:
    """Give every label that a metric has, with the values that it may have."""
    used = {label for kind in (WorkerMetrics, FollowerMetrics) for label in _labels(kind)}
    return _table(("Label", "Values"), ((f"`{label}`", text) for label, text in LABELS.items() if label in used))


def _labels(kind: type[WorkerMetrics] | type[FollowerMetrics]) -> Iterator[str]:
    registry = new_registry()
    kind(registry)
    for metric in registry._collector_to_names:
        if isinstance(metric, MetricWrapperBase):
            yield from metric._labelnames


def walk(group: click.Group = headrace, path: str = "headrace") -> Iterator[tuple[str, click.Command]]:
    """Give every command that is no group, with its path."""
    for name in group.list_commands(_context()):
        command = group.get_command(_context(), name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from walk(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def _context() -> click.Context:
    return click.Context(headrace)


def _about(command: click.Command) -> str:
    return _cell(" ".join((command.help or "").split("\n\n")[0].split()))


def _type(field: FieldInfo, name: str) -> str:
    annotation = field.annotation
    kinds = [kind for kind in (get_args(annotation) or (annotation,)) if kind is not type(None)]
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{value}`" for value in get_args(annotation))
    if name in PASSTHROUGH:
        return "table"
    if get_origin(kinds[0]) is Literal:  # or else a list
        return " or ".join(f"`{value}`" for value in get_args(kinds[0])) + " or a list of pairs"
    if get_origin(annotation) is tuple or get_origin(kinds[0]) is tuple:
        return {float: "list of numbers", str: "list of texts"}.get(kinds[0], "two numbers")
    if annotation is bool:
        return "`true` or `false`"
    word = {str: "text", int: "integer", float: "number"}[kinds[0]]
    bounds = [
        f"{sign} {getattr(limit, attribute):_}"
        for limit in field.metadata
        for attribute, sign in BOUNDS.items()
        if hasattr(limit, attribute)
    ]
    return f"{word} {', '.join(bounds)}".replace(f"< {2**63:_}", "< 2^63").strip()


def _default(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, str | bool):
        return f"`{str(value).lower() if isinstance(value, bool) else value}`"
    if isinstance(value, dict | tuple):
        return "none"
    return f"{value:_}" if isinstance(value, int) and value > 9_999 else f"{value:g}"  # as TOML reads it


def _cell(text: str | None) -> str:
    assert text, "a setting, a metric or a command without a meaning"
    return text.replace("|", "\\|")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


if __name__ == "__main__":
    README.write_text(written(README.read_text(encoding="utf-8")), encoding="utf-8")
    RUN_LOG.write_text(run_log_schema(), encoding="utf-8")
