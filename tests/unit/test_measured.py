"""The log of live workers, out of their versions: what these workers measured themselves."""

import numpy as np
import pytest

from tests.support.lineage import NOW, Partition, Writer, events
from worker.config import Config
from worker.errors import IncompatibleDataError
from worker.evaluation.evaluation import Evaluation
from worker.evaluation.runlog import RunLog
from worker.learning import Learning
from worker.measured import measured
from worker.pipeline import Pipeline

LEARNING = Learning.model_validate(
    {
        "features": {"user": {}, "item": {}},
        "model": {"factors": 4, "merge": False},
        "quality": {"slices": {"item": ["i1"]}, "window": 1_000},
    }
)
CONFIG = Config.model_validate(LEARNING.model_dump())


@pytest.fixture
def writers(monkeypatch) -> list[Writer]:
    """Two shards without a broker: what a reader of the model topic would read."""
    made = [Writer(LEARNING, shard) for shard in range(2)]

    class Feed:
        def __init__(self, *_: object) -> None: ...

        def partitions(self) -> int:
            return len(made)

        def close(self) -> None: ...

    monkeypatch.setattr("worker.measured.Feed", Feed)
    monkeypatch.setattr("worker.measured.Tail", lambda _settings, _topic, shard: Partition(made[shard]))
    return made


def learn(writers: list[Writer], versions: int) -> Evaluation:
    """Learn and commit; gives what a look at every event would have measured."""
    looked = Evaluation.of(LEARNING)
    for writer in writers:
        writer._pipeline = Pipeline(LEARNING, looked.observe)
        for number in range(versions):
            writer.learn([*events(1_000, 10 * writer.shard + number, start=NOW + number * 1_000), b"no json"])
            writer.commit()
    return looked


def test_sums_are_those_of_every_event(writers):
    looked = learn(writers, 6)
    read = list[int]()
    run = measured(CONFIG, "live", read.append)
    assert sum(read) == sum(writer.next_offset for writer in writers)
    assert (run.name, run.mode, run.events, run.shards) == ("live", "live", 12_000, 2)
    assert run.totals.loss == pytest.approx(looked.totals.loss, rel=1e-12)
    assert run.totals.auc == looked.totals.auc
    assert run.totals.calibration_error == pytest.approx(looked.totals.calibration_error, abs=0.002)
    assert run.rejected == {"not_json": 12}
    assert [one.value for one in run.slices] == ["i1", "other"]
    for one, other in zip(run.slices, looked.slices, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-9)
    assert run.digests == {writer.shard: writer.manifests[-1].state.digest for writer in writers}
    assert run.marks == looked.marks
    assert sum(window.events for window in run.windows) == 12_000
    assert len(run.windows) > 1
    assert RunLog.model_validate_json(run.model_dump_json()) == run


def test_what_came_before_the_oldest_version_is_not_counted(writers):
    learn(writers, 6)
    for writer in writers:
        third = next(offset for offset, record in writer.log if record.version == 3)
        writer.first_offset, writer.log = third, [one for one in writer.log if one[0] >= third]
    run = measured(CONFIG, "live")
    assert run.events == 2 * 3_000, "versions 4 to 6: of version 3 nobody knows what came before"
    assert run.totals.loss < np.log(2)


def test_a_shard_without_a_version_is_passed_over(writers):
    learn(writers[:1], 2)
    assert measured(CONFIG, "live").events == 2_000


def test_without_any_version_it_says_so(writers):
    assert len(writers) == 2
    with pytest.raises(IncompatibleDataError, match="no version yet"):
        measured(CONFIG, "live")
