"""The program of README.md's section on replays runs as it stands there, on a recording and a configuration."""

import contextlib
import io
import os
import re
from pathlib import Path

import pytest

from tests.bench.replay import record
from tests.docs.test_readme import section

EVENTS = 4_000


def test_the_program_replays_a_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (program,) = re.findall(r"^```python\n(.*?)^```", section("## Replay and verify"), re.MULTILINE | re.DOTALL)
    for name in [name for name in os.environ if name.startswith("HEADRACE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    Path("headrace.toml").write_text("[features.user]\n[features.item]\n")
    record(tmp_path / "tuesday", EVENTS)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(program, "README.md", "exec"), {})  # noqa: S102 - it is what is tested
    first, *shards = printed.getvalue().splitlines()
    assert first.startswith(f"{EVENTS} events, log loss 0.")
    assert len(shards) == 4
    assert all(re.fullmatch(r"shard \d: version 1, [0-9a-f]{32}", line) for line in shards)
