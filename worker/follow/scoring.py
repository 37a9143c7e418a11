"""Events are scored and explained by the shards of a model as they are served now."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from worker.errors import ConfigurationError, RejectedEventError
from worker.events.decode import Decoded, Decoder, Rejected
from worker.events.features import Features
from worker.events.packed import PackedDecoder
from worker.events.partition import partition_of
from worker.follow.explanation import Explanation, explanation_of
from worker.follow.shard import FollowedShard
from worker.learning import Learning

Scorable: TypeAlias = Sequence[Mapping[str, Any] | bytes] | pa.Table | pa.RecordBatch


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Predictions for n events."""

    probability: NDArray[np.float32]  # [n] of a positive label; the value itself for squared loss; NaN where rejected
    mean: NDArray[np.float32]  # [n] the same without drawing: what `probability` is where nothing is explored
    variance: NDArray[np.float32]  # [n] of the logit (the value for squared loss); NaN of a kind that tells none
    version: NDArray[np.int64]  # [n] of the shard that scored; 0 where it has none yet, -1 where rejected
    shard: NDArray[np.int32]  # [n]; -1 where rejected
    seed: int | None  # by which `probability` was drawn; None where it was not
    rejected: list[Rejected]


class Scorer:
    """Scores events as `worker.follow.follower.Follower` says.

    Args:
        learning: what was learned, and how.
        shards: by number; they change meanwhile.
    """

    def __init__(self, learning: Learning, shards: Mapping[int, FollowedShard]) -> None:
        self._learning, self._shards = learning, shards
        self._decoder = Decoder(learning, labelled=False)
        self._packed = PackedDecoder(learning, labelled=False)
        self._features = Features(learning)

    def score(self, events: Scorable, explore: Literal["thompson"] | None, seed: int | None) -> Scores:
        """Score events, each by the shard of its partition key."""
        if explore not in (None, "thompson") or (seed is not None and (explore is None or not 0 <= seed < 2**63)):
            raise ValueError(
                f'explore is {explore!r}, seed is {seed!r}: explore may be "thompson", then seed is 0 to 2^63 - 1'
            )
        if explore is not None and self._learning.model.kind != "gaussian":
            raise ConfigurationError(
                f'a model of kind = "{self._learning.model.kind}" does not know how sure it is: to explore, '
                'learn one of kind = "gaussian"'
            )
        if explore is not None and seed is None:
            seed = secrets.randbits(63)
        decoded, shards = self._read(events)
        n = len(events)
        probability, mean, variance = (np.full(n, np.nan, np.float32) for _ in range(3))
        version, shard_of = np.full(n, -1), np.full(n, -1, np.int32)
        for shard in np.unique(shards):
            rows = np.flatnonzero(shards == shard)
            places = decoded.index[rows]
            entries = self._features.encode(decoded.table.take(rows))
            scores, drawn, served = self._shards[int(shard)].predict(entries, seed)
            probability[places], mean[places], variance[places] = drawn, scores.predictions, scores.variances
            version[places], shard_of[places] = served, shard
        return Scores(
            probability=probability, mean=mean, variance=variance, version=version, shard=shard_of, seed=seed,
            rejected=decoded.rejected,
        )  # fmt: skip

    def explain(self, event: Mapping[str, Any] | bytes) -> Explanation:
        """Tell why an event is scored as it is."""
        decoded, shards = self._read([event])
        for bad in decoded.rejected:
            raise RejectedEventError(str(bad.reason), bad.detail)
        entries, shard = self._features.encode(decoded.table), int(shards[0])
        return explanation_of(self._learning, decoded.table, shard, self._shards[shard].behind(entries))

    def _read(self, events: Scorable) -> tuple[Decoded, NDArray[np.int32]]:
        """Decode events, and tell the shard of each that can be read."""
        if isinstance(events, pa.Table | pa.RecordBatch):
            decoded = self._packed.decode(events)
        else:
            values = [event if isinstance(event, bytes) else orjson.dumps(event) for event in events]
            decoded = self._decoder.decode(values, np.full(len(values), -1))
        key = decoded.table[self._learning.events.partition_key]
        return decoded, partition_of(key, len(self._shards), self._learning.events.partitioner)
