"""The publish gate on real Kafka: a follower that was there before, and one that comes later, serve the same."""

import json
from collections.abc import Iterator

import pytest

from tests.integration.test_follower import advance, follow, headrace, serves
from tests.support.lineage import Writer, events
from tests.support.patience import SECONDS
from tests.support.publisher import Publisher
from tests.unit.follow.test_withheld import gated


@pytest.fixture
def publisher(kafka, unique) -> Iterator[Publisher]:
    with Publisher(kafka, unique) as one:
        yield one


def poison(publisher: Publisher, writer: Writer) -> None:
    writer.learn([event.replace(b'"label":1', b'"label":0') for event in events(1_000, writer.state.version)])
    assert not publisher.publish(writer).servable


def test_versions_out_of_bounds_reach_nobody_until_one_is_within(kafka, publisher, monkeypatch):
    monkeypatch.setattr("tests.support.lineage.Writer.base_after_bytes", 0)
    # Given a follower that serves the last servable version
    writer, values = Writer(gated(merge=True)), events(200, 12_345)
    while not advance(publisher, writer, n=1_000).servable:
        pass
    good = writer.state.version
    with follow(kafka, publisher.topic) as follower:
        assert serves(follower, writer)
        before = follower.score(values)
        # When what follows is out of bounds, for so long that bases complete, and followers start meanwhile
        for _ in range(5):
            poison(publisher, writer)
        assert writer.state.bases[-1].version > good
        follower.catch_up(SECONDS)
        with follow(kafka, publisher.topic) as late:
            # Then both serve it as it was, to the bit, and say so
            for one in (follower, late):
                (served,) = one.served()
                assert (served.version, served.held_back, served.damage) == (good, 5, None)
                assert "calibration is without bound" in served.reasons[0]
                assert one.held_back == {0: served.reasons}
                assert one.score(values).probability.tobytes() == before.probability.tobytes()
            (told,) = json.loads(headrace(kafka, publisher.topic, "follow", "--once", "--json").stdout)
            assert (told["version"], told["held_back"]) == (good, 5)
            text = headrace(kafka, publisher.topic, "follow", "--once").stdout.decode()
            assert "5 newer ones are not servable: calibration is" in text
            # And both catch up with the next servable version
            while not advance(publisher, writer, n=1_000).servable:
                pass
            for one in (follower, late):
                one.catch_up(SECONDS)
                assert serves(one, writer)
                assert (one.held_back, one.served()[0].version) == ({}, writer.state.version)
