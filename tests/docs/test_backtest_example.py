"""The program of README.md's section on backtests runs as it stands there, on a recording and a configuration."""

import contextlib
import io
import os
import re
from pathlib import Path

import pytest

from tests.docs.test_readme import section
from tests.support.backtested import recorded
from worker.settings import load


def test_the_program_compares_two_configurations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (program,) = re.findall(r"^```python\n(.*?)^```", section("## Backtest"), re.MULTILINE | re.DOTALL)
    for name in [name for name in os.environ if name.startswith("HEADRACE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    Path("headrace.toml").write_text("[features.user]\n[features.item]\n")
    recorded(tmp_path / "tuesday", events=1_000)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(program, "README.md", "exec"), {})  # noqa: S102 - it is what is tested
    *ranking, best = printed.getvalue().splitlines()
    assert sorted(line.split(":")[0] for line in ranking) == ["as it is", "base rate", "fading"]
    assert all(re.fullmatch(r"[a-z ]+: log loss 0\.\d{4}, AUC 0\.\d{4}", line) for line in ranking)
    name = best.removeprefix("best: ")
    assert name in ("as it is", "fading")
    assert load(Path("tried/winner.toml"), {}).model.half_life == ("1d" if name == "fading" else "off")
