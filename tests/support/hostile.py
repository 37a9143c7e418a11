"""Reads packed messages in which bytes are flipped, cut and replaced: run as a program, in a process of its own."""

import resource
import sys

import numpy as np
import pyarrow as pa

from tests.support.lineage import NOW
from worker.learning import Learning
from worker.pipeline import Pipeline
from worker.snapshot.state import ShardState

ROUNDS = 2_000
MEMORY_BYTES = 6 * 1024**3  # what claims to be absurdly long must not be believed
LEARNING = Learning.model_validate(
    {
        "features": {"user": {}, "item": {}, "price": {"kind": "numeric"}, "tags": {"kind": "multi"}},
        "events": {"format": "arrow"},
        "model": {"factors": 2, "merge": False},
    }
)


def messages() -> list[bytes]:
    n = 40
    user = pa.array([f"u{at % 7}" for at in range(n)])
    tags = pa.array([["a", "b"][: at % 3] for at in range(n)])
    flat = tags.values.dictionary_encode()
    columns = {
        "user": user, "item": pa.array(range(n), pa.int32()), "price": [0.5] * n, "tags": tags,
        "label": pa.array([1] * n, pa.int8()), "time": pa.array([NOW] * n, pa.timestamp("ms")),
    }  # fmt: skip
    coded = columns | {"user": user.dictionary_encode(), "tags": pa.ListArray.from_arrays(tags.offsets, flat)}
    grown = coded | {"user": pa.array([f"u{at % 9}" for at in range(n)]).dictionary_encode()}
    large = columns | {"user": user.cast(pa.large_string()), "tags": tags.cast(pa.large_list(pa.large_string()))}
    found = []
    for batches, options in (
        ([columns], {}), ([coded, coded], {}), ([coded, grown], {"emit_dictionary_deltas": True}), ([large], {}),
        ([columns], {"compression": "lz4"}), ([coded], {"compression": "zstd"}),
    ):  # fmt: skip
        sink = pa.BufferOutputStream()
        made = [pa.RecordBatch.from_pydict(batch) for batch in batches]
        with pa.ipc.new_stream(sink, made[0].schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
            for batch in made:
                writer.write_batch(batch)
        found.append(bytes(sink.getvalue()))
    return found


def spoilt(value: bytes, rng: np.random.Generator) -> bytes:
    data = bytearray(value)
    for _ in range(rng.integers(1, 4)):
        at, what = int(rng.integers(len(data))), rng.integers(5)
        if what == 0:
            data[at] ^= 1 << int(rng.integers(8))
        elif what == 1:
            data[at] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF]))
        elif what == 2:
            at -= at % 8
            data[at : at + 8] = int(rng.choice([0, 1, 2**31, 2**40, 2**62, 2**63])).to_bytes(8, "little")
        elif what == 3:
            at -= at % 4
            data[at : at + 4] = int(rng.choice([0, 1, 64, 2**16, 2**30, 2**31, 2**32 - 1])).to_bytes(4, "little")
        elif rng.integers(4) == 0:
            del data[max(at, 1) :]
    return bytes(data)


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    rng = np.random.default_rng(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    good = messages()
    pipeline, once = Pipeline(LEARNING), ShardState.fresh(0, LEARNING)
    pipeline.learn(once, good[:2], np.full(2, NOW), 2)
    refused = 0
    for round_ in range(ROUNDS):
        bad = spoilt(good[round_ % len(good)], rng)
        state = ShardState.fresh(0, LEARNING)
        learned = pipeline.learn(state, [bad], np.full(1, NOW), 1)
        if learned.events or all(one.row is not None for one in learned.rejected):
            continue  # it is another message now, or still the same
        refused += 1
        if round_ % 20 == 0:
            state = ShardState.fresh(0, LEARNING)
            pipeline.learn(state, [good[0], bad, good[1]], np.full(3, NOW), 3)
            assert state.model.digest() == once.model.digest(), "a neighbour is not what it was"
    assert refused > ROUNDS // 20
    print("sound", refused)  # noqa: T201 - the test reads it


if __name__ == "__main__":
    main()
