"""What the demo learns from: MovieLens-100K, or the planted stream where the data set is out of reach."""

import sys
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from deploy import movielens
from worker.simulate import Planted
from worker.simulate.encoding import encode

_MOVIELENS_FEATURES = """\
[features.user]
[features.item]
[features.age]
[features.gender]
[features.occupation]
[features.year]
[features.genres]
kind = "multi"
"""
_PLANTED_FEATURES = """\
[features.user]
[features.item]
[features.hour]
[features.device]
[features.slot]
"""


_OPENING_EVENTS = 2_000


@dataclass(frozen=True, kw_only=True)
class Stream:
    """Events in files, a line each, in the order of time: a few to begin with, and all others."""

    opening: Path
    rest: Path
    events: int
    features: str  # their part of the configuration
    description: str

    def sample(self, count: int) -> list[dict[str, Any]]:
        """Give events spread evenly over the stream."""
        with self.rest.open("rb") as lines:
            step = (self.events - _OPENING_EVENTS) // count
            return [orjson.loads(line) for line in islice(lines, step - 1, None, step)][:count]


def movielens_or_planted(folder: Path) -> Stream:
    """Write the events into a folder; say so where they are not the real ones."""
    path = folder / "events.jsonl"
    try:
        movielens.write_jsonl(path)
    except movielens.DatasetUnavailableError as error:
        print(f"demo: {error}\ndemo: the simulated stream serves instead", file=sys.stderr)
    else:
        description = "MovieLens-100K (a positive label is a rating of 4 or more)"
        return _parted(path, _MOVIELENS_FEATURES, description)
    planted = Planted(events=100_000)
    with path.open("wb") as file:
        for batch in planted.batches(10_000):
            file.write(b"\n".join(encode(batch)) + b"\n")
    return _parted(path, _PLANTED_FEATURES, "simulated (planted stream)")


def _parted(path: Path, features: str, description: str) -> Stream:
    lines = path.read_bytes().splitlines(keepends=True)
    opening, rest = path.with_name("opening.jsonl"), path.with_name("rest.jsonl")
    opening.write_bytes(b"".join(lines[:_OPENING_EVENTS]))
    rest.write_bytes(b"".join(lines[_OPENING_EVENTS:]))
    path.unlink()
    return Stream(opening=opening, rest=rest, events=len(lines), features=features, description=description)
