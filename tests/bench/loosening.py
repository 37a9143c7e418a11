"""What answering an alarm by loosening gains after a drift, and costs where nothing has drifted; alone and merged.

A long planted stream that stays as it is, then the biases of 30 % of the items are drawn anew. How wrong a model is
then is measured on events that it does not learn, against the probabilities that these were drawn with: the
Kullback-Leibler divergence, by which the log loss exceeds the lowest possible.
"""

from copy import deepcopy
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tests.bench.drifting import ALONE, BATCH, encoded
from tests.bench.size import Size, tell
from worker.learning import Learning
from worker.model.batch import SHARED, Batch
from worker.model.index import distinct
from worker.modelling import Model
from worker.pipeline import Pipeline, Prepared
from worker.simulate import Planted
from worker.simulate.planted import PlantedBatch, entropy
from worker.snapshot.state import ShardState
from worker.watching import Quality

INCLUDES = {
    "loosen.*": "30 % of the items drawn anew after 5,000,000 events: `recovery_to_nothing` is the events until the "
    "excess of the loss is down to a half, detection included, over those it takes without a response; `quarter`: to a "
    "quarter; `cost_of_false_alarm`: per cent of the loss in the 200,000 events after loosening without any drift",
}
_BEFORE, _AFTER, _HELD_OUT = 5_000_000, 1_500_000, 50_000
_SETTLED = 200_000  # events by which the cost of a false alarm is judged
_SEEDS = 3
_LOOSEN = Quality(response="loosen")


def measure(size: Size) -> dict[str, Any]:
    """Measure a shard alone, and four that are merged."""
    alone = [_measure(size, 1, seed) for seed in range(max(1, int(size.fewer(_SEEDS, 1) * min(1.0, 5 * size.share))))]
    return _median(alone) | {"merged_4": _measure(size, 4, 0)}


def _median(found: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: median(one[name] for one in found) for name in found[0]}


def _measure(size: Size, shards: int, seed: int) -> dict[str, Any]:
    before, after = size.of(_BEFORE, 100_000), size.of(_AFTER, 50_000)
    planted = Planted(seed=seed, events=before + after + _HELD_OUT, drift_at=None, drift_share=0.3)
    drifted = Planted(seed=seed, events=planted.events, drift_at=before / planted.events, drift_share=0.3)
    crew = Crew.fresh(shards, _learning(merge=shards > 1))
    crew.learn(planted, 0, before)
    # Nothing has drifted so far, and what alarmed all the same was answered in all of them.
    held_out, held_out_after = (_between(it, before + after) for it in (planted, drifted))
    lowest = float(entropy(held_out.truth).mean())
    plain = deepcopy(crew).unanswered().learn(planted, before, after, held_out)
    nothing = deepcopy(crew).unanswered().learn(drifted, before, after, held_out_after) - plain
    answered = deepcopy(crew).learn(drifted, before, after, held_out_after) - plain
    loosened = crew.unanswered().loosen().learn(planted, before, min(after, _SETTLED), held_out)
    cost = 100 * (loosened - plain[: len(loosened)]) / (lowest + plain[: len(loosened)])
    halves, quarters = (tuple(_down_to(share * nothing[0], it) for it in (answered, nothing)) for share in (0.5, 0.25))
    found = {
        "recovery_to_nothing": halves[0] / halves[1],
        "recovery_events": halves[0],
        "nothing_events": halves[1],
        "quarter_recovery_to_nothing": quarters[0] / quarters[1],
        "cost_of_false_alarm": float(cost.mean()),
        "cost_of_false_alarm_at_worst": float(cost.max()),
    }
    tell(f"loosen {shards}, seed {seed}: {found}")
    return found


def _learning(*, merge: bool) -> Learning:
    return ALONE.model_copy(update={"model": Model(merge=merge), "quality": _LOOSEN})


def _down_to(level: float, excess: NDArray[np.float64]) -> int:
    """Give after how many events the excess is down to a level and stays there; all of them where it never is."""
    above = np.flatnonzero(excess > level)
    return BATCH * min(len(excess), int(above[-1]) + 2 if len(above) else 1)


def _between(planted: Planted, start: int) -> PlantedBatch:
    """Draw all events from one on that is the first of a block."""
    return PlantedBatch.joined([planted.block(number) for number in range(start // BATCH, planted.events // BATCH)])


@dataclass
class Crew:
    """Shards that learn a planted stream side by side, and merge after every 10,000 events of each in the mean."""

    states: list[ShardState]
    pipeline: Pipeline
    merge: bool

    @classmethod
    def fresh(cls, shards: int, learning: Learning) -> Self:
        """Make them before any event."""
        states = [ShardState.fresh(shard, learning) for shard in range(shards)]
        return cls(states=states, pipeline=Pipeline(learning), merge=learning.model.merge)

    def unanswered(self) -> Self:
        """Answer no alarm from now on."""
        for state in self.states:
            state.loosening.limit = None
        return self

    def loosen(self) -> Self:
        """Answer a false alarm of every shard."""
        for state in self.states:
            state.model.loosen(_LOOSEN.loosen_to)
        return self

    def learn(
        self, planted: Planted, start: int, events: int, held_out: PlantedBatch | None = None
    ) -> NDArray[np.float64]:
        """Learn events; gives how wrong the crew is after each 10,000 about those held out, nats an event."""
        wrong = []
        for number in range(start // BATCH, (start + events) // BATCH):
            for state, batch in zip(self.states, self._parted(planted.block(number)), strict=True):
                self.pipeline.take(
                    state, Prepared(batches=[self._encoded(batch)], rejected=[]), state.next_offset + len(batch)
                )
            if self.merge and (number + 1) % len(self.states) == 0:
                self._fold()
            if held_out is not None:
                wrong.append(self._wrong(held_out))
        return np.array(wrong)

    def _wrong(self, held_out: PlantedBatch) -> float:
        total = 0.0
        for state, batch in zip(self.states, self._parted(held_out), strict=True):
            p, truth = state.model.predict(self._encoded(batch).entries).predictions.astype(np.float64), batch.truth
            total += float(np.sum(truth * np.log(truth / p) + (1 - truth) * np.log((1 - truth) / (1 - p))))
        return total / len(held_out)

    def _fold(self) -> None:
        added = [state.model.boundary()[1] for state in self.states]
        keys = distinct(np.concatenate([it.keys for it in added if it is not None]))
        for number, state in enumerate(self.states):
            for other, contribution in enumerate(added):
                if other != number and contribution is not None and state.model.shared is not None:
                    state.model.shared.merged.add(contribution)
            state.model.renew(keys)
            state.model.digest()

    def _encoded(self, batch: PlantedBatch) -> Batch:
        encoded_ = encoded(batch)
        if self.merge:  # all but the user, who belongs to one shard
            keys = encoded_.entries.keys.reshape(len(batch), -1)
            keys[:, [0, *range(2, keys.shape[1])]] |= SHARED
        return encoded_

    def _parted(self, batch: PlantedBatch) -> list[PlantedBatch]:
        of = batch.user % len(self.states)
        return [
            replace(batch, **{name: getattr(batch, name)[of == shard] for name in PlantedBatch.columns()})
            for shard in range(len(self.states))
        ]
