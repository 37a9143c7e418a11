"""`headrace backtest` as a person runs it."""

import json
import subprocess
import sys

import pytest

from tests.support.backtested import recorded
from tests.support.command import headrace_text
from worker.cli import main
from worker.recording import Recording
from worker.recording.places import place
from worker.recording.plan import Asked, Plan, write_plan
from worker.recording.writing import Limits
from worker.settings import load

FILE = """\
[features.user]
[features.item]
[model]
factors = 4
merge = false
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("backtest")
    recorded(place / "tuesday", events=1_500)
    (place / "headrace.toml").write_text(FILE)
    (place / "other.toml").write_text(FILE.replace("factors = 4", "factors = 2"))
    return place


def headrace(folder, *arguments) -> subprocess.CompletedProcess:
    done = headrace_text("backtest", *arguments, folder=folder)
    assert done.returncode == 0, done.stderr
    return done


def test_a_grid_files_and_baselines(folder):
    asked = [
        "tuesday", "--grid", "model.half_life=off,1d", "--with", "other.toml", "--batch", "1d", "--delay", "1h",
        "--out", "tried", "--jobs", "2",
    ]  # fmt: skip
    command = [sys.executable, "-m", "worker", "backtest", *asked]
    first = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert first.returncode == 0, first.stderr
    assert first.stderr == ""  # no bar: nobody sees it
    lines = first.stdout.splitlines()
    assert "5 runs over 1,500 records; measured from 2025-01-" in lines[0]
    assert "labels known 3,600 s later" in lines[0]
    for name in ("default ", "half_life=1d ", "other ", "default, retrained every 1d ", "base rate "):
        assert sum(line.startswith(name) for line in lines) == 1, name
    assert "differences are from default; intervals by a circular block bootstrap" in first.stdout
    again = headrace(folder, *asked)
    assert "5 of them made before" in again.stdout
    assert again.stdout.splitlines()[1:] == lines[1:]
    told = json.loads(headrace(folder, *asked, "--json").stdout)
    assert told == json.loads((folder / "tried" / "backtest.json").read_text())
    assert len(told["ranking"]) == 5
    assert told["delay_ms"] == 3_600_000
    winner = load(folder / "tried" / "winner.toml", {})
    of_winner = next(one for one in told["ranking"] if one["name"] == told["winner"])
    assert of_winner["settings"].get("model.factors", 4) == winner.model.factors
    assert min(one["log_loss"] for one in told["ranking"] if one["kind"] == "online") == of_winner["log_loss"]
    assert (folder / "tried" / "report.html").read_text().startswith("<!")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["--grid", "model.half_lif=off"], "--grid: model.half_lif: no such setting; did you mean model.half_life?"),
        (["--grid", "model.factors=2,x"], "(of model.factors=x)"),
        (["--grid", "model.kind=gaussian,sgd", "--grid", "model.factors=2,4"], "Nothing has run"),
        (["--grid", "kafka.group=a"], "changes nothing of what is learned"),
        (["--grid", "model.seed=" + ",".join(map(str, range(51)))], "this grid has 51 combinations"),
        (["--grid", "model.factors"], "is written as a setting and its values"),
        (["--delay", "1y"], "is no duration"),
        (["--delay", "4000d"], "--delay 4000 d is as long as the recording, which spans about 5."),
        (["--batch", "4000d"], "--batch 4000 d is as long as the recording"),
        (["--warm-up", "100%"], "is no share of the records"),
        (["--warm-up", "soon"], "is neither a share such as 10% nor a duration"),
        (["--limit", "3"], "--limit is of a grid"),
        (["--seed", str(2**63)], "is not in the range"),
        (["--from-timestamp", "9" * 20], "later than any timestamp"),
        (["--with", "gone.toml"], "gone.toml: no such file"),
        (["--partition", "3"], "has no partition 3"),
    ],
    ids=lambda one: one[0] if isinstance(one, list) else "",
)
def test_what_cannot_be_ends_with_2_before_anything_runs(folder, asked, message, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit) as ended:
        main(["backtest", "tuesday", "--out", "never", *asked])
    assert ended.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (folder / "never").exists()


def test_a_large_grid_runs_in_part_where_that_is_asked_for(folder):
    seeds = "model.seed=" + ",".join(map(str, range(51)))
    told = json.loads(
        headrace(
            folder, "tuesday", "--grid", seeds, "--limit", "2", "--no-base-rate", "--out", "drawn", "--json"
        ).stdout
    )
    names = sorted(one["name"] for one in told["ranking"])
    assert len(names) in (2, 3)  # a draw may be the default itself
    assert names[0] == "default"


def test_what_may_be_missing_is_told(tmp_path):
    recorded(tmp_path / "cut", events=300)
    (tmp_path / "headrace.toml").write_text(FILE)
    recording = Recording(tmp_path / "cut")
    stop = recording.ranges[0][1]
    write_plan(
        place(tmp_path / "cut"),
        Plan(
            topic=recording.topic,
            topic_id="one",
            partitions=1,
            asked=Asked(),
            ranges={0: (0, stop + 9)},
            limits=Limits(),
        ),
    )
    done = headrace(tmp_path, "cut", "--out", "tried", "--jobs", "1", "--json")
    assert f"warning: cut: offsets {stop} to {stop + 8} of partition 0 were to be recorded" in done.stderr
    assert json.loads(done.stdout)["winner"] == "default"
