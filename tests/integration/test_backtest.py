"""A topic of a real broker, recorded and backtested: offsets with gaps of transactions, several partitions."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deploy.broker import Broker
from tests.support.backtested import HOUR, clicks
from tests.support.recorded import make, produce, record
from worker.recording import Recording
from worker.settings import load


def events(begin: int, end: int) -> Iterator[dict[str, Any]]:
    values, times = clicks(2_400, HOUR // 12)
    for value, time in zip(values[begin:end], times[begin:end], strict=True):
        user = json.loads(value)["user"]
        yield {"key": user.encode(), "value": value, "partition": int(user[1:]) % 2, "timestamp": time}


def test_what_was_recorded_is_backtested(kafka: Broker, unique: str, tmp_path: Path) -> None:
    # Given a topic of three partitions, one of them empty, whose offsets have gaps; recorded
    make(kafka, unique, 3, **{"retention.ms": "-1"})
    for begin in (0, 800, 1_600):
        produce(kafka, unique, events(begin, begin + 800), transaction=f"{unique}-{begin}")
    record(kafka, unique, tmp_path / "recorded")
    assert Recording(tmp_path / "recorded").count == 2_400
    # When a grid is tried on it, with late labels
    (tmp_path / "headrace.toml").write_text("[features.user]\n[features.item]\n[commit]\ninterval_seconds = 600.0\n")
    command = [
        sys.executable, "-m", "worker", "backtest", "recorded", "--grid", "model.half_life=off,7d", "--delay", "1h",
        "--batch", "1d", "--out", "tried", "--json", "--jobs", "2",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    # Then all are measured over the same events, what is never learned is worst, and the winner can be used
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["records"], told["shards"]) == (2_400, 2)  # a partition without records has nothing to learn
    assert len({one["events"] for one in told["ranking"]}) == 1
    assert {one["kind"] for one in told["ranking"]} == {"online", "batch", "base rate"}
    assert told["ranking"][-1]["kind"] == "base rate"
    winner = load(tmp_path / "tried" / "winner.toml", {})
    assert winner.commit.interval_seconds == 600.0
    assert winner.model.half_life in ("off", "7d")
