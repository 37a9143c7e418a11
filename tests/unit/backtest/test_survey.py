import dataclasses

import numpy as np
import pytest

from tests.support.backtested import HOUR, START
from tests.support.replayed import Memory, records_of, stream
from worker.backtest import survey as survey_of
from worker.backtest.survey import survey


@pytest.mark.parametrize("sampled", [100, 1_000_000])
def test_it_is_the_same_however_many_records_come_at_once(sampled, monkeypatch):
    monkeypatch.setattr(survey_of, "_SAMPLED", sampled)
    source = stream(3_000, 3, seed=1)
    one, other = survey(source), survey(dataclasses.replace(source, chunk=7))
    assert one.digest == other.digest
    assert one.records == other.records == 3_000
    assert one.share(0.3) == other.share(0.3)
    assert one.last_ms == other.last_ms == max(int(it.timestamps[-1]) for it in source.partitions.values())
    assert one.edges(one.share(0.1)).tolist() == other.edges(other.share(0.1)).tolist()


@pytest.mark.parametrize("what", ["value", "time", "offset", "null", "cut"])
def test_other_records_have_another_digest(what):
    values, times = [b"ab", b"c", b"", b"d"], [START + n for n in range(4)]
    before = survey(Memory({0: records_of(values, times)})).digest
    start = 0
    if what == "value":
        values[1] = b"x"
    elif what == "time":
        times[3] += 1
    elif what == "offset":
        start = 1
    elif what == "null":
        values[2] = None
    else:
        values[:2] = [b"a", b"bc"]  # the same bytes in a row
    assert survey(Memory({0: records_of(values, times, start=start)})).digest != before


def test_blocks_hold_about_as_many_records_each():
    times = (START + np.cumsum(np.random.default_rng(0).integers(1, 1_000, size=10_000))).tolist()
    found = survey(Memory({0: records_of([b"x"] * 10_000, times)}))
    begin = found.share(0.1)
    edges = found.edges(begin, 50)
    counts = np.histogram([time for time in times if time >= begin], [*edges.tolist(), times[-1] + 1])[0]
    assert len(counts) == 50
    assert counts.sum() == pytest.approx(9_000, abs=1)
    assert counts.min() >= 178
    assert counts.max() <= 182


def test_where_many_records_have_one_time_there_are_fewer_blocks():
    found = survey(Memory({0: records_of([b"x"] * 900, [START] * 500 + [START + HOUR] * 400)}))
    assert found.edges(START).tolist() == [START, START + HOUR]
    assert found.span_ms == HOUR


def test_records_without_any_time_have_no_span():
    found = survey(Memory({0: records_of([b"x"] * 10, [-1] * 10)}))
    assert (found.first_ms, found.last_ms, found.span_ms) == (-1, -1, 0)
