import numpy as np
import orjson
import pytest

from worker.events.decode import Decoder
from worker.events.features import Features
from worker.events.hashing import key_of
from worker.events.spelling import spell
from worker.learning import Learning
from worker.model.batch import SHARED

LEARNING = Learning.model_validate(
    {
        "features": {
            "user": {},
            "number": {},
            "price": {"kind": "numeric", "transform": "log"},
            "band": {"kind": "numeric", "field": "price", "transform": "buckets", "edges": [1, 10]},
            "tags": {"kind": "multi"},
            "codes": {"kind": "multi"},
            "both": {"kind": "cross", "of": ["user", "tags"]},
        }
    }
)
EVENTS = {
    "all": (
        {"user": "u x", "number": 7, "price": 12.5, "tags": ["b", None, "a", "b"], "codes": [3, 3, 2]},
        [[""], ["u x"], ["7"], ["12.5"], ["12.5"], ["b", "a"], ["3", "2"], ["u x x b", "u x x a"]],
    ),
    "little": ({"user": True, "tags": []}, [[""], ["true"], [], [], [], [], [], []]),
    "nothing": ({}, [[""], [], [], [], [], [], [], []]),
}


@pytest.mark.parametrize(("event", "expected"), EVENTS.values(), ids=EVENTS.keys())
def test_each_entry_has_the_value_that_it_was_made_from(event, expected):
    table = Decoder(LEARNING, labelled=False).decode([orjson.dumps(event)], np.full(1, -1)).table
    spelt = spell(LEARNING, table)
    assert spelt == expected
    entries = Features(LEARNING).encode(table)
    assert [len(values) for values in spelt] == np.diff(entries.starts).tolist()
    # and in the order of the entries: their keys are those of the values
    for field, name in ((1, "user"), (2, "number"), (5, "tags"), (6, "codes")):
        keys = entries.keys[entries.starts[field] : entries.starts[field + 1]]
        should = np.array([key_of(name, value) for value in spelt[field]], np.uint64)
        assert (keys & ~SHARED).tolist() == (should & ~SHARED).tolist()
