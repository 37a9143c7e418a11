from pathlib import Path

import orjson
import pytest

from deploy import movielens


def test_the_real_data_set(tmp_path: Path) -> None:
    try:
        folder = movielens.fetch()
    except movielens.DatasetUnavailableError as unavailable:
        pytest.skip(str(unavailable))
    path = tmp_path / "events.jsonl"
    assert movielens.write_jsonl(path, folder) == 100_000
    events = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    assert [event["time"] for event in events] == sorted(event["time"] for event in events)
    assert len({event["user"] for event in events}) == 943
    assert len({event["item"] for event in events}) == 1_682
    assert sum(event["label"] for event in events) == 55_375  # ratings of 4 and 5, as its README counts them
    assert all(event["age"] in movielens.BANDS and event["gender"] in ("F", "M") for event in events)
    assert all(isinstance(event["genres"], list) and event["genres"] for event in events)
    assert {event["year"] for event in events if "year" in event} <= set(range(1922, 1999))
