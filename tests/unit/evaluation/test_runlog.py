"""The log of a run: what is written is what is read, and what is no log is refused with the place that is wrong."""

import json
import stat

import numpy as np
import pytest

from worker.errors import ConfigurationError, IncompatibleDataError
from worker.evaluation.configuration import changed
from worker.evaluation.evaluation import Evaluation
from worker.evaluation.runlog import Example, RunLog
from worker.learning import Learning

NOW = 1_735_689_600_000


@pytest.fixture
def run() -> RunLog:
    evaluation = Evaluation(logistic=True, clock=iter(range(100)).__next__)
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.05, 0.95, 2_000).astype(np.float32)
    evaluation.add(NOW + np.arange(2_000) * 1_000, scores, (rng.random(2_000) < scores).astype(np.float32))
    return RunLog.of(
        evaluation, name="half-life 1h", mode="replay", when=NOW, seconds=0.5, source="recording",
        configuration={"model.half_life": "1h"}, rejected={"not_json": 3}, skipped={"duplicate": 1},
        examples={"not_json": [Example(shard=1, offset=7, detail="is no JSON", value="{")]}, digests={0: "ab", 3: "cd"},
    )  # fmt: skip


def test_what_is_written_is_read_back(run, tmp_path):
    path = tmp_path / "runs" / "one.json"
    run.write(path)
    assert RunLog.read(path) == run
    assert [one.name for one in path.parent.iterdir()] == ["one.json"], "nothing is left beside it"
    assert stat.S_IMODE(path.stat().st_mode) & 0o044, "others may read it"
    told = json.loads(path.read_text())
    assert (told["format"], told["events"], told["events_per_second"]) == (1, 2_000, 4_000)
    assert (told["shards"], told["digests"]) == (2, {"0": "ab", "3": "cd"})


def test_a_file_that_cannot_be_written_leaves_what_was_there(run, tmp_path):
    (tmp_path / "file").write_text("before")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        run.write(tmp_path / "file" / "run.json")
    assert (tmp_path / "file").read_text() == "before"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "format"),
        ({"totals": None}, "totals"),
        ({"seconds": -1}, "seconds"),
        ({"extra": 1}, "extra"),
        ({"windows": [{"begin": 1}]}, "windows.0"),
    ],
)
def test_what_is_no_run_log_is_refused_with_its_place(run, tmp_path, change, said):
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(json.loads(run.model_dump_json()) | change))
    with pytest.raises(IncompatibleDataError, match=rf"bad\.json is no run log of format 1: .*{said}"):
        RunLog.read(path)


def test_what_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(IncompatibleDataError, match=r"gone\.json: cannot be read"):
        RunLog.read(tmp_path / "gone.json")
    (tmp_path / "text.json").write_text("no json")
    with pytest.raises(IncompatibleDataError, match=r"text\.json is no run log"):
        RunLog.read(tmp_path / "text.json")


def test_the_settings_that_are_told_are_those_that_differ():
    learning = Learning.model_validate(
        {
            "features": {"user": {}, "price": {"kind": "numeric", "transform": "log"}},
            "model": {"half_life": "7d", "topic": "elsewhere"},
        }
    )
    assert changed(learning) == {
        "model.half_life": "7d",
        "features.user.kind": "categorical",
        "features.price.kind": "numeric",
        "features.price.transform": "log",
    }
