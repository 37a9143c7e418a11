"""README.md names everything that a user meets: what is missing there fails here."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tests.docs.generate import walk as commands
from tests.docs.generate import written
from worker import errors
from worker.cli import INTERRUPTED, headrace
from worker.events.rejects import Reason
from worker.observe.metrics import OUTCOMES, REBALANCES

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted(
    path for path in ROOT.glob("**/*.md") if not any(part.startswith(".") for part in path.parts[len(ROOT.parts) :])
)


def section(title: str) -> str:
    """Give what stands below a heading, up to the next one of the same or a higher level."""
    level = title.split(" ", maxsplit=1)[0]
    begin = README.index(f"\n{title}\n")
    end = re.compile(rf"^#{{1,{len(level)}}} ", re.MULTILINE).search(README, begin + len(title) + 2)
    return README[begin : end.start() if end else None]


def first_column(title: str) -> list[str]:
    """Give the first cell of every row of the tables below a heading."""
    return re.findall(r"^\| `?([^`|]+?)`? \|", section(title), re.MULTILINE)


def test_tables_made_from_the_code_are_those_that_the_code_makes_now() -> None:
    assert written(README) == README, "run `python -m tests.docs.generate`"
    assert README.count("<!-- made from the code") == README.count("<!-- end -->") == 4


@pytest.mark.parametrize(
    ("path", "command"), list(commands()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_command_and_option_is_there(path: str, command: click.Command) -> None:
    row = next(line for line in section("### Commands").splitlines() if line.startswith(f"| `{path}` |"))
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert all(option in row for option in parameter.opts), parameter.name


def test_every_exit_code_and_error_is_there() -> None:
    rows = [line.split(" | ") for line in section("### Exit codes").splitlines() if re.match(r"\| \d", line)]
    told = {code.strip(): row[1] for row in rows for code in row[0].strip("| ").split(",")}
    classes = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.HeadraceError)
    ]
    for kind in classes:
        assert f"`{kind.__name__}`" in told[str(kind.exit_code)]
    assert set(told) == {str(kind.exit_code) for kind in classes} | {"0", str(INTERRUPTED), "143"}
    assert all(
        re.search(rf"\b{code}\b", headrace.epilog or "") for code in set(told) - {"143"}
    )  # --help names them too


def test_every_reason_to_reject_is_there() -> None:
    assert [reason for reason in first_column("### Rejected records") if reason.islower()] == [*Reason]


def test_every_log_action_is_there_and_no_other() -> None:
    told = [action for action in first_column("### Log lines") if action.islower()]
    assert sorted(told) == sorted(set(told))
    assert set(told) == {action for path in ROOT.glob("worker/**/*.py") for action in actions(path)}


def test_label_values_of_metrics_are_there() -> None:
    metrics = section("### Metrics and health")
    assert all(f"`{word}`" in metrics for word in (*OUTCOMES, *REBALANCES, "consumer", "producer"))


def test_every_make_target_is_there_or_in_its_help() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert targets is not None
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.findall(r"^  make (\w+) ", shown, re.MULTILINE) == targets[1].split()
    mentioned = set(re.findall(r"`?make ([a-z]+)", README))
    assert {"help", "demo", "test", "check"} <= mentioned <= set(targets[1].split())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        path, _, anchor = target.partition("#")
        place = page.parent / path if path else page
        if "://" not in target and not (place.exists() and (not anchor or anchor in anchors(place))):
            broken.append(target)
    assert broken == []


def test_the_pages_are_found() -> None:
    assert {"README.md", "CHANGELOG.md", "worker/README.md", "schemas/README.md"} <= {
        str(page.relative_to(ROOT)) for page in PAGES
    }


def test_every_module_of_the_stream_is_on_the_inside_page() -> None:
    page = (ROOT / "worker" / "README.md").read_text(encoding="utf-8")
    for path in (*ROOT.glob("worker/*"), *ROOT.glob("worker/stream/*.py")):
        if path.name in ("__init__.py", "__pycache__", "README.md", "py.typed"):
            continue
        assert f"`{path.name}{'/' if path.is_dir() else ''}`" in page, path


def test_every_guarantee_has_its_proof() -> None:
    rows = [line for line in section("## Guarantees").splitlines() if line.startswith("| ")][2:]
    assert len(rows) > 15
    for row in rows:
        *_, proof = row.strip("| ").split(" | ")
        assert re.search(r"\]\(tests/\S+\.py\)", proof) or "disk" in row, row


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def actions(path: Path) -> Iterator[str]:
    """Give the actions of the log lines of a module: those written out, and what a parameter stands for."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for node in ast.walk(tree):
        for key, value in zip(node.keys, node.values, strict=True) if isinstance(node, ast.Dict) else ():
            if not isinstance(key, ast.Constant) or key.value != "action":
                continue
            if isinstance(value, ast.Constant):
                yield str(value.value)
            else:
                (inside,) = [one for one in functions if node in ast.walk(one)]
                yield from handed_over(tree, inside.name)


def handed_over(tree: ast.AST, function: str) -> Iterator[str]:
    """Give the words that calls of a function hand over last."""
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == function:
            last = call.args[-1]
            assert isinstance(last, ast.Constant), f"line {call.lineno}: an action that is not written out"
            yield str(last.value)


def test_actions_are_found_however_they_are_written(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        """
LOG = Adapter(logger, {"action": "once"})
class A:
    def f(self):
        log.info("x", extra={"action": "plain", "shard": 1})
        self.g("handed")
    def g(self, action):
        log.info("y", extra={"action": action})
"""
    )
    assert set(actions(module)) == {"once", "plain", "handed"}
