"""Compiling every kernel before it is needed: numba takes seconds at first use, and keeps what it made in a cache."""

from dataclasses import replace

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from worker.evaluation.evaluation import Evaluation
from worker.events.decode import Decoder
from worker.events.features import Features
from worker.events.pack import write
from worker.events.partition import partition_of
from worker.learning import Events, Feature, Learning
from worker.model.cells import Cells, Words
from worker.model.forgetting import TICKS
from worker.model.index import distinct
from worker.model.ledger import Ledger
from worker.model.sampling import sample
from worker.model.table import Table
from worker.modelling import Model
from worker.pipeline import Pipeline
from worker.snapshot.records import (
    decode_contribution,
    decode_rows,
    decode_words,
    encode_contribution,
    encode_rows,
    encode_words,
)
from worker.snapshot.state import ShardState
from worker.watching import Quality

_EVENTS = 200  # the decoder goes column by column only where there are many
_NOW = 1_700_000_000_000
_EVERY_KIND = Learning(
    features={
        "user": Feature(),
        "item": Feature(),
        "price": Feature(kind="numeric", transform="log"),
        "price_as_is": Feature(kind="numeric", field="price", transform="log", standardise="off"),
        "price_band": Feature(kind="numeric", field="price", transform="buckets", edges=(1.0, 2.0)),
        "tags": Feature(kind="multi"),
        "user_x_item": Feature(kind="cross", of=("user", "item")),
    },
    model=Model(merge=False),
    quality=Quality(slices={"item": ("i1",)}),
)
_CATEGORIES = {name: feature for name, feature in _EVERY_KIND.features.items() if name != "price"}


def compile_all() -> None:
    """Run events of every kind through all that a worker and a follower do."""
    timestamps = np.full(_EVENTS, _NOW)
    pipeline = Pipeline(_EVERY_KIND, Evaluation.of(_EVERY_KIND).observe)
    state = ShardState.fresh(0, _EVERY_KIND)
    for values in (_events(item="i1"), _unusual(item="i1"), _unusual(item=1), [*_events(item="i2")[1:], b"{"]):
        pipeline.learn(state, values, timestamps, _EVENTS)
    pipeline.learn(state, pa.array(_events(item="i1"), pa.binary()), timestamps, _EVENTS)  # as a replay does
    rows = state.model.table.touched()
    state.model.table.put(rows)
    read = decode_rows(encode_rows(rows), _EVERY_KIND.model.factors)  # arrays that are read-only, as a restore has them
    for keys in (read.keys, rows.keys):
        state.model.table.get(keys)
    state.model.table.gather(read.keys)
    Table(state.model.table.prior, capacity=1).put(read)  # which makes it grow
    state.digest()
    cells = Cells({"some": 2})
    cells.put(decode_words(encode_words(Words(places=np.arange(2), values=np.ones(2, np.uint64))), 2))
    cells.settle()
    table = Decoder(_EVERY_KIND, labelled=False).decode(_events(item="i1"), timestamps).table
    entries = state.standardiser.standardise(Features(_EVERY_KIND).encode(table))
    state.model.predict(entries)
    sample(state.model, entries, state.model.gather(entries.keys), 0, logistic=True)
    _merge(timestamps)
    _bound(timestamps)
    _hold_back(timestamps)
    _choose_pairs(timestamps)
    _learn_linear(timestamps)
    _take_in(timestamps)
    _learn_packed()
    _loosen(timestamps)
    for partitioner in ("murmur2", "crc32"):
        partition_of(table["user"], 4, partitioner)
        partition_of(pa.chunked_array([[1, 2]]), 4, partitioner)


def _merge(timestamps: NDArray[np.int64]) -> None:
    """Do what shards that are merged do with what they have learned, and with what they read of others."""
    learning = _EVERY_KIND.model_copy(update={"model": Model(merge=True)})
    state, factors = ShardState.fresh(0, learning), learning.model.factors
    Pipeline(learning).learn(state, _events(item="i1"), timestamps, _EVENTS)
    _, contribution = state.model.boundary()
    shared = state.model.shared
    if shared is None or contribution is None:
        return
    read = decode_contribution(encode_contribution(contribution), factors)
    shared.merged.add(read)
    shared.merged.get(read.keys)
    grown = Ledger(read.amounts.shape[1], capacity=1)
    grown.add(read)
    grown.add(replace(read, tick=TICKS))  # a half-life later
    state.model.renew(distinct(np.concatenate([read.keys, shared.merged.all().keys])))
    state.digest()


def _loosen(timestamps: NDArray[np.int64]) -> None:
    """Do what answers an alarm of drift, to shards that are merged and to others; before and after a commit."""
    for merge in (False, True):
        learning = _EVERY_KIND.model_copy(update={"model": Model(merge=merge)})
        state = ShardState.fresh(0, learning)
        for _ in range(2):
            Pipeline(learning).learn(state, _events(item="i1"), timestamps, _EVENTS)
            state.model.loosen(1.0)
            state.model.boundary()
            state.digest()


def _bound(timestamps: NDArray[np.int64]) -> None:
    """Do what a bounded model does when it is full, whether shards are merged or not."""
    few = {"user": Feature(), "item": Feature()}
    for merge in (False, True):
        model = Model(merge=merge, max_rows=12)
        learning = _EVERY_KIND.model_copy(update={"features": few, "model": model})
        pipeline, state = Pipeline(learning), ShardState.fresh(0, learning)
        for number in range(32):
            pipeline.learn(state, _events(item=f"i{number}"), timestamps, _EVENTS)
            if number in (15, 31):
                state.model.boundary()
                state.digest()
        state.model.table.dropped()
        if state.model.shared is not None:
            state.model.shared.merged.has(state.model.shared.merged.all().keys)
        state.model.recall()


def _hold_back(timestamps: NDArray[np.int64]) -> None:
    """Do what a model does that holds rare values back: it lets some in, and counts them anew where it is bounded."""
    features = {name: feature.model_copy(update={"admit_after": 2}) for name, feature in _CATEGORIES.items()}
    for model in (Model(merge=False, admission_counters=1_024), Model(max_rows=1_000, admission_counters=1_024)):
        learning = _EVERY_KIND.model_copy(update={"features": features, "model": model})
        pipeline, state = Pipeline(learning), ShardState.fresh(0, learning)
        for number in range(512):  # so many that counters are halved
            pipeline.learn(state, _events(item=f"i{number}")[:1], timestamps[:1], number)
        pipeline.learn(state, _events(item="i512"), timestamps, _EVENTS)
        state.model.boundary()
        state.digest()
        table = Decoder(learning, labelled=False).decode(_events(item="i1"), timestamps).table
        state.model.predict(Features(learning).encode(table))


def _choose_pairs(timestamps: NDArray[np.int64]) -> None:
    """Learn events of so many fields that pairs can be dropped."""
    features = {name: Feature(field="item") for name in "abcdefghijkl"} | {"user": Feature()}
    model = Model(merge=False, pairs="auto")
    learning = _EVERY_KIND.model_copy(update={"features": features, "model": model, "quality": Quality()})
    state = ShardState.fresh(0, learning)
    Pipeline(learning).learn(state, _events(item="i1"), timestamps, _EVENTS)
    state.digest()


def _learn_linear(timestamps: NDArray[np.int64]) -> None:
    """Do what the textbook learners do in another way than the Gaussian."""
    for model in (Model(kind="sgd", merge=False), Model(kind="ftrl", merge=False)):
        learning = _EVERY_KIND.model_copy(update={"model": model})
        pipeline, state = Pipeline(learning), ShardState.fresh(0, learning)
        for values in (_events(item="i1"), [*_events(item="i2")[1:], b"{"]):
            pipeline.learn(state, values, timestamps, _EVENTS)
        state.digest()
        table = Decoder(learning, labelled=False).decode(_events(item="i1"), timestamps).table
        state.model.predict(Features(learning).encode(table))


def _take_in(timestamps: NDArray[np.int64]) -> None:
    """Do what is done where events have ids, and not all negatives are learned."""
    intake = Events(id="item", duplicate_window=1, keep_negatives=0.5)
    learning = _EVERY_KIND.model_copy(update={"events": intake})
    pipeline, state = Pipeline(learning), ShardState.fresh(0, learning)
    for item in ("i1", "i2", 1):
        pipeline.learn(state, _events(item=item), timestamps, _EVENTS)


def _learn_packed() -> None:
    """Learn from packed events whose columns are of every kind."""
    learning = _EVERY_KIND.model_copy(update={"events": Events(format="arrow")})
    pipeline, state = Pipeline(learning), ShardState.fresh(0, learning)
    for number, kind in enumerate((pa.string(), pa.int64(), pa.bool_())):
        categories = pa.array([1, 0, None]).cast(kind)
        lists = pa.ListArray.from_arrays(pa.array([0, 1, 2, 3], pa.int32()), categories)
        for user, tags in ((categories, lists), (categories.dictionary_encode(), lists)):
            columns = {"user": user, "item": user, "price": [1.5, 2.5, None], "tags": tags, "label": [1, 0, None]}
            pipeline.learn(state, [write(pa.RecordBatch.from_pydict(columns))], np.array([_NOW]), number)


def _events(*, item: str | int) -> list[bytes]:
    event = {"user": "u", "item": item, "label": 1, "time": _NOW, "price": 1.5, "tags": ["a", "b"], "note": "x" * 2_000}
    return [orjson.dumps(event)] * _EVENTS


def _unusual(*, item: str | int) -> list[bytes]:
    """Make events that the scanner leaves to Arrow, for they nest too deep."""
    return [event[:-1] + b',"deep":' + b"[" * 100 + b"]" * 100 + b"}" for event in _events(item=item)]


if __name__ == "__main__":
    compile_all()
