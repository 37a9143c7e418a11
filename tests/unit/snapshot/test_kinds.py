"""Every kind of learner from its settings through records and lineage to a follower."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from confluent_kafka import Message

from tests.support.lineage import NOW, Writer, events, learning_of, tampered, versions
from worker.config import Config
from worker.errors import ConfigurationError, CorruptSnapshotError
from worker.events.decode import Decoder
from worker.events.features import Features
from worker.follow.shard import FollowedShard
from worker.follow.whole import Whole
from worker.learning import Learning
from worker.model.batch import Entries
from worker.model.ftrl import Ftrl
from worker.model.gaussian import Gaussian
from worker.model.sgd import Sgd
from worker.reshard import carry
from worker.snapshot.columns import encode
from worker.snapshot.kinds import learner_of
from worker.snapshot.lineage import advance, apply, verify
from worker.snapshot.records import Kind, Record
from worker.snapshot.state import ShardState

MODELS = {
    "gaussian": {},
    "sgd": {"kind": "sgd"},
    "sgd-squared": {"kind": "sgd", "loss": "squared"},
    "ftrl": {"kind": "ftrl", "ftrl_l1": 0.1},
}
COLUMNS = {
    "gaussian": ["weight", "weight_precision", "factor_precision", "factors"],
    "sgd": ["weight"],
    "sgd-squared": ["weight"],
    "ftrl": ["weight", "z", "n"],
}
every_kind = pytest.mark.parametrize("kind", MODELS)


@pytest.fixture
def bases_early(monkeypatch):
    monkeypatch.setattr("tests.support.lineage.Writer.base_after_bytes", 0)


def entries_of(learning: Learning) -> Entries:
    """Some events to score, of users never seen too."""
    values = [*events(100, 99), *events(20, 98, users=10**6)]
    return Features(learning).encode(Decoder(learning, labelled=False).decode(values, np.full(120, NOW)).table)


def scored(state: ShardState) -> bytes:
    return state.model.predict(entries_of(learning_of())).predictions.tobytes()


def message(record: Record, offset: int) -> Message:
    """A record as a consumer hands it over."""
    return Message(
        topic="interactions.model", partition=0, offset=offset,
        key=record.key, value=record.value, headers=record.headers,
    )  # fmt: skip


def test_the_settings_say_which_it_is():
    sgd = learner_of(learning_of(kind="sgd", loss="squared", learning_rate=0.5))
    assert isinstance(sgd, Sgd)
    assert (sgd.rate, sgd.logistic) == (0.5, False)
    ftrl = learner_of(learning_of(kind="ftrl", ftrl_alpha=0.25, ftrl_beta=2.0, ftrl_l1=3.0, ftrl_l2=4.0))
    assert isinstance(ftrl, Ftrl)
    at = ftrl.settings
    assert (at.alpha, at.beta, at.l1, at.l2, ftrl.logistic) == (0.25, 2.0, 3.0, 4.0, True)
    assert isinstance(learner_of(learning_of()), Gaussian)


@every_kind
@pytest.mark.usefixtures("bases_early")
def test_what_is_published_is_rebuilt_served_and_learned_on_to_the_bit(kind):
    # Given a shard whose bases travel in parts beside its deltas
    learning = learning_of(**MODELS[kind])
    writer = Writer(learning, base_part_bytes=4_000, record_limit_bytes=20_480)
    follower, offsets = FollowedShard(learning.model.name, 0, learning, Whole(learning)), {}
    for number in range(12):
        writer.learn([*events(200, number, users=300 + 40 * number), b"no json"])
        writer.commit()
        # Then a follower serves each version as its writer scores it
        for offset, record in writer.log:
            if offset not in offsets:
                offsets[offset] = follower.take(message(record, offset))
        assert follower.damage is None
        scores, _, version = follower.predict(entries_of(learning))
        assert version == writer.state.version
        assert scores.predictions.tobytes() == scored(writer.state)
    assert set(offsets.values()) == {None}

    # And a restore that begins at the last base has the same state, and learns on from it
    last = writer.manifests[-1]
    assert last.bases[-1].version > 1
    state = ShardState.fresh(0, learning)
    for version in versions(writer.log, learning, start=last.bases[-1].offset):
        apply(state, version)
    verify(state, last)
    assert scored(state) == scored(writer.state)
    other = Writer(learning)
    other.state = state
    for one in (writer, other):
        one.learn(events(300, 77))
    assert other.state.digest() == writer.state.digest()


@every_kind
def test_rows_carry_what_the_kind_keeps_and_nothing_else(kind):
    writer = Writer(learning_of(**MODELS[kind]))
    writer.advance(50)
    records = {record.kind: record.value for _, record in writer.log}
    table = pa.ipc.open_stream(records[Kind.ROWS]).read_all()
    assert table.column_names == ["key", "seen", "route", *COLUMNS[kind]]
    assert (Kind.PAIRS in records) == (kind == "gaussian")


def test_the_digest_knows_what_no_score_shows():
    """A version in which z of a row is another: it scores the same, and would learn something else from then on."""
    writer = Writer(learning_of(**MODELS["ftrl"]))
    writer.advance(50)
    writer.advance(50)
    first, second = versions(writer.log, writer.learning)
    state = ShardState.fresh(0, writer.learning)
    apply(state, first)
    verify(state, first.manifest)
    before = scored(state)
    (record,) = second.of_kind(Kind.ROWS)
    table = pa.ipc.open_stream(record.value).read_all()
    z = table["z"].to_numpy().copy()
    z[0] += 1
    value = encode({name: table[name].combine_chunks() for name in table.column_names} | {"z": pa.array(z)})
    damaged = replace(second, data=[tampered(it, value) if it is record else it for it in second.data])
    with pytest.raises(CorruptSnapshotError, match="has digest"):
        advance(state, damaged)
    assert scored(state) == before


def test_a_model_that_does_not_merge_is_not_carried_to_other_shards():
    config = Config.model_validate({"features": {"user": {}}, "model": {"kind": "ftrl", "merge": False}})
    with pytest.raises(ConfigurationError, match=r'kind = "ftrl" cannot be carried .* Learn it anew'):
        carry(config, "elsewhere.model", None)
