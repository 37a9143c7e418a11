"""Names the kernels that are still compiled after `warm.compile_all`: run as a program, in a process of its own."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
from numba.core.dispatcher import Dispatcher

from tests.support.lineage import NOW, Partition, Writer, events, learning_of, versions
from worker import warm
from worker.evaluation.evaluation import Evaluation
from worker.events.columns import columns_of
from worker.events.decode import Decoder
from worker.events.features import Features
from worker.events.partition import partition_of
from worker.events.scanned import Scanner, join
from worker.follow.whole import Whole
from worker.learning import Feature, Learning
from worker.model.batch import Entries
from worker.pipeline import Pipeline
from worker.snapshot.lineage import advance, apply, verify
from worker.snapshot.records import Kind, decode_keys
from worker.snapshot.state import ShardState
from worker.stream.contributions import folding_of
from worker.stream.merging import recall


def many_fields() -> Learning:
    """So many that pairs are taken all at once, and can be dropped."""
    few = learning_of(pairs="auto")
    features = few.features | {f"f{number}": Feature(field="item") for number in range(12)}
    return few.model_copy(update={"features": features})


_ODD = (
    b'{"user":"\\ud83d\\ude00","item":"\xc3\xa9\xf0\x9f\x98\x80","label":true,"price":-1.25e-7,"tags":[1,null,"a"]}',
    b'{"label":0.1234567890123456,"user":null,"other":{"a":[[],{"b":1e400}],"c":"\\u00e9"},"price":12345678901234567e-40}',
)
_JUNK = np.array(
    [b"", b'"', b"\\", b"\\u", b",", b"{", b"}", b"[", b"]", b"9" * 30, b"-", b".", b"e", b"\n", b"\xf0"], object
)
LEARNINGS = (
    learning_of(), learning_of(kind="sgd"), learning_of(kind="sgd", loss="squared"), learning_of(kind="ftrl"),
    learning_of(merge=True), learning_of(merge=True, half_life="1h"),
    Learning.model_validate(
        {
            "events": {"id": "item", "duplicate_window": 500, "keep_negatives": 0.5},
            "quality": {"slices": {"item": ["i1", "i2"]}, "window": 1_000},
            "features": {"user": {}, "item": {}}, "model": {"factors": 4, "merge": False, "label_noise": 0.1},
        }
    ),
    many_fields(),
    learning_of(max_rows=1_000), learning_of(merge=True, max_rows=1_000), learning_of(kind="ftrl", max_bytes="64KiB"),
    *(
        learning_of(admit_after=2, admission_counters=1_024, **model)
        for model in ({}, {"kind": "sgd"}, {"merge": True}, {"merge": True, "max_rows": 500}, {"max_rows": 500})
    ),
    Learning(
        features={"user": Feature(), "item": Feature()} | {name: Feature(kind="numeric", field="time", transform=name)
                                        for name in ("identity", "log")},
        model=learning_of().model,
    ),
)  # fmt: skip


def variants() -> set[str]:
    """Name every kernel of the package, with each kind of arguments that it is compiled for."""
    kernels = {
        value
        for name, module in list(sys.modules.items())
        if name.startswith("worker.")
        for value in vars(module).values()
        if isinstance(value, Dispatcher)
    }
    return {f"{kernel.py_func.__module__}.{kernel.__name__}{kind}" for kernel in kernels for kind in kernel.signatures}


def work(learning: Learning) -> None:
    """Do what two workers do from the first event to a restore, and what a follower does with their versions."""
    writers = [Writer(learning, shard) for shard in range(2)]
    for number in range(3):
        for writer in writers:
            # more than a table first has room for, and some time apart: what is forgotten is forgotten
            writer.learn(events(2_000, number, users=5_000, items=2_000, start=NOW + number * 3_600_000))
            if learning.model.kind == "gaussian":
                writer.state.model.loosen(2.0)  # before a commit and, of what others add, after some
        writers[0].commit()
        (version,) = versions(writers[0].log, learning)[-1:]
        writers[1].commit([folding_of(version, learning.model.factors)] if learning.model.merge else [])
    _restore(writers[1], writers)
    _follow(writers[1])


def _evaluate(learning: Learning) -> None:
    """Do what a replay does: measure what is learned, in more windows than there is room for."""
    evaluation, state = Evaluation.of(learning), ShardState.fresh(0, learning)
    pipeline = Pipeline(learning, evaluation.observe)
    for number in range(3):
        some = pa.array(events(1_000, number, start=NOW + number * 86_400_000), pa.large_binary())
        pipeline.learn(state, some, np.full(1_000, NOW + number * 86_400_000), 1_000 * (number + 1))
    evaluation.merge(evaluation)
    evaluation.windows()


def _restore(writer: Writer, all_: list[Writer]) -> None:
    state = ShardState.fresh(writer.shard, writer.learning)
    for version in versions(writer.log, writer.learning, shard=writer.shard):
        apply(state, version)
    verify(state, writer.manifests[-1])
    config = SimpleNamespace(model=writer.learning.model)
    recall(config, state, writer.manifests[-1], [0], lambda shard: Partition(all_[shard]))
    state.model.predict(state.standardiser.standardise(_entries(writer.learning)))


def _follow(writer: Writer) -> None:
    first, *rest = versions(writer.log, writer.learning, shard=writer.shard)
    state, whole = ShardState.fresh(writer.shard, writer.learning), Whole(writer.learning)
    state.model.table.keep_marks()
    apply(state, first)
    whole.replace(None, state)
    for version in rest:
        advance(state, version)
        whole.add(state, version)
        for record in version.of_kind(Kind.ROWS):
            state.model.table.mark(decode_keys(record.value), 1)
    entries = state.standardiser.standardise(_entries(writer.learning))
    whole.predict(state.model, entries)
    if writer.learning.model.kind == "gaussian":
        whole.sample(state.model, entries, 7)
    whole.behind(state.model, entries, 1)


def _entries(learning: Learning) -> Entries:
    table = Decoder(learning, labelled=False).decode(events(100, 9), np.full(100, NOW)).table
    partition_of(table["user"], 4, learning.events.partitioner)
    return Features(learning).encode(table)


def _scan() -> None:
    """Read records of all kinds, whole and spoilt; where bounds are checked, some bytes too far end the process."""
    rng = np.random.default_rng(0)
    scanner = Scanner(list(columns_of(warm._EVERY_KIND, labelled=True).values()))
    good = [*warm._events(item=1)[:2], *(json.dumps(json.loads(one), indent=1).encode() for one in _ODD), *_ODD]
    batch = []
    for _ in range(3_000):
        spoilt = bytearray(good[rng.integers(len(good))])
        for _ in range(rng.integers(3)):
            at = int(rng.integers(len(spoilt)))
            spoilt[at : at + int(rng.integers(3))] = rng.choice(_JUNK)
        batch.append(bytes(spoilt))
        scanner.scan(join(batch[-1:]), np.array([len(batch[-1])]))
    # the last one goes on, as far as it goes, like the one before, which goes on past the padding
    batch += [b'{"user":1\n' + b" " * 40 + b',"item":2}', b'{"user":1']
    scanner.scan(join(batch), np.array([len(one) for one in batch]))


def main() -> None:
    warm.compile_all()
    before = variants()
    _scan()
    for learning in LEARNINGS:
        work(learning)
        _evaluate(learning)
    sys.stdout.writelines(f"{variant}\n" for variant in sorted(variants() - before))


if __name__ == "__main__":
    main()
