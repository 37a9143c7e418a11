"""The planted stream: interactions drawn from a law that is known, so that the best possible loss is known too.

The logit of an event is `intercept + b_user + b_item + b_hour + b_device + b_slot + <f_user, f_item>`; users and items
are drawn by Zipf's law, contexts evenly, the label is Bernoulli. At the drift, the biases of some items are re-drawn.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from worker.errors import ConfigurationError

BLOCK = 10_000  # events drawn from one generator: the stream is a function of the seed and the block's number alone
HOURS = 24
DEVICES = 6
INTERCEPT = -1.8  # about a fifth of the labels is positive: a busy feed, and both classes are well seen
USER_DEVIATION = 0.6
ITEM_DEVIATION = 0.8
CONTEXT_DEVIATION = 0.3 / math.sqrt(3)  # of each of three contexts: together they deviate by 0.3
LAW, EVENTS, DRIFT = range(3)  # which generator: what one draws never moves what another draws


@dataclass(frozen=True, kw_only=True)
class PlantedBatch:
    """Events `first : first + n` of a planted stream, as columns."""

    first: int
    user: NDArray[np.int64]  # [n] 0 is the most frequent
    item: NDArray[np.int64]  # [n] 0 is the most frequent
    hour: NDArray[np.int64]  # [n] 0 to 23
    device: NDArray[np.int64]  # [n] 0 to 5
    slot: NDArray[np.int64]  # [n] 0 to contexts - 1
    labels: NDArray[np.int64]  # [n] 0 or 1
    truth: NDArray[np.float64]  # [n] the probability that the label was drawn with
    times: NDArray[np.int64]  # [n] synthetic event time, milliseconds since 1970

    def __len__(self) -> int:
        """Count the events."""
        return len(self.labels)

    @classmethod
    def columns(cls) -> list[str]:
        """Name the columns."""
        return [field.name for field in fields(cls) if field.name != "first"]

    def part(self, start: int, stop: int) -> Self:
        """Give the events from number `start` to before `stop`, as numbered in the whole stream."""
        cut = slice(max(start - self.first, 0), max(stop - self.first, 0))
        return type(self)(first=self.first + cut.start, **{name: getattr(self, name)[cut] for name in self.columns()})

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        """Put neighbouring parts together."""
        if len(parts) == 1:
            return parts[0]
        columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in cls.columns()}
        return cls(first=parts[0].first, **columns)


@dataclass(frozen=True, kw_only=True)
class Law:
    """What the events are drawn from."""

    user_bias: NDArray[np.float64]  # [users]
    item_bias: NDArray[np.float64]  # [items]
    item_bias_after: NDArray[np.float64]  # [items] from the drift on
    hour_bias: NDArray[np.float64]  # [24]
    device_bias: NDArray[np.float64]  # [6]
    slot_bias: NDArray[np.float64]  # [contexts]
    user_factors: NDArray[np.float64]  # [users, dimensions]
    item_factors: NDArray[np.float64]  # [items, dimensions]
    user_distribution: NDArray[np.float64]  # [users] cumulative
    item_distribution: NDArray[np.float64]  # [items] cumulative


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What is known of a planted stream and what no model can know better."""

    planted: dict[str, Any]  # the settings it was drawn with
    events: int
    positives: int
    irreducible_log_loss: float  # the mean entropy of the labels: what the law itself would score in the mean
    constant_log_loss: float  # what the best constant, the share of positives, scores
    drift_event: int | None  # the number of the first event after the drift
    drift_time: int | None = None  # its event time as sent, milliseconds since 1970


class Tally:
    """Adds up what is true of the batches that it sees."""

    def __init__(self, planted: "Planted") -> None:
        self._planted = planted
        self._events = 0
        self._positives = 0
        self._entropy = 0  # in units of 2^-40: a sum of integers is the same whatever the size of the batches
        self._drift_time: int | None = None

    def add(self, batch: PlantedBatch, times: NDArray[np.int64] | None = None) -> None:
        """Count a batch in; `times` are the event times that were sent in place of the synthetic ones."""
        self._events += len(batch)
        self._positives += int(batch.labels.sum())
        self._entropy += int(np.rint(entropy(batch.truth) * 2**40).astype(np.int64).sum())
        drift = self._planted.drift_event
        if drift is not None and batch.first <= drift < batch.first + len(batch):
            self._drift_time = int((batch.times if times is None else times)[drift - batch.first])

    def truth(self) -> Truth:
        """Sum up."""
        count = max(self._events, 1)
        return Truth(
            planted=asdict(self._planted),
            events=self._events,
            positives=self._positives,
            irreducible_log_loss=self._entropy / 2**40 / count,
            constant_log_loss=float(entropy(np.array(self._positives / count))),
            drift_event=self._planted.drift_event,
            drift_time=self._drift_time,
        )


@dataclass(frozen=True, kw_only=True)
class Planted:
    """A stream of labelled events: the same for the same settings, whatever the size of its batches.

    Raises `ConfigurationError` where a setting makes no stream.

    >>> whole = next(Planted(events=2_000, users=100, items=50).batches(2_000))
    >>> halves = list(Planted(events=2_000, users=100, items=50).batches(1_000))
    >>> bool((whole.labels[1_000:] == halves[1].labels).all())
    True
    """

    events: int = 1_000_000
    users: int = 50_000
    items: int = 10_000
    contexts: int = 60
    dimensions: int = 8  # of the user x item interaction
    user_exponent: float = 0.8  # of Zipf's law
    item_exponent: float = 1.0
    factor_deviation: float = 0.45  # of the user x item interaction's factors: its logit deviates by 0.57
    drift_at: float | None = 0.5  # the share of the stream before the drift
    drift_share: float = 0.3  # the share of the items whose bias is re-drawn
    seed: int = 0
    start_time: int = 1_735_689_600_000  # synthetic event time of the first event: 2025-01-01, in milliseconds
    events_per_second: float = 1_000.0  # of synthetic event time

    def __post_init__(self) -> None:
        for name in ("events", "users", "items", "contexts"):
            if getattr(self, name) < 1:
                raise ConfigurationError(
                    f"the planted stream needs at least one of its {name}, not {getattr(self, name)}"
                )
        if self.drift_at is not None and not 0 <= self.drift_at <= 1:
            raise ConfigurationError(f"the drift lies at a share of the stream, 0 to 1, not at {self.drift_at}")
        if not 0 <= self.drift_share <= 1:
            raise ConfigurationError(f"the share of items that drift lies in 0 to 1: {self.drift_share} does not")
        if not self.events_per_second > 0:
            raise ConfigurationError(f"events per second must be above 0, not {self.events_per_second}")
        if self.seed < 0 or self.dimensions < 0:
            raise ConfigurationError("the seed and the dimensions of the planted stream must not be negative")

    @property
    def drift_event(self) -> int | None:
        """Give the number of the first event after the drift; None where the stream does not drift."""
        event = self.events if self.drift_at is None else int(self.events * self.drift_at)
        return event if event < self.events else None

    @cached_property
    def law(self) -> Law:
        """Draw the law."""
        rng = np.random.default_rng([self.seed, LAW])
        item_bias = rng.normal(0, ITEM_DEVIATION, self.items)
        drifting = np.random.default_rng([self.seed, DRIFT])
        moved = drifting.permutation(self.items)[: round(self.items * self.drift_share)]
        after = item_bias.copy()
        after[moved] = drifting.normal(0, ITEM_DEVIATION, len(moved))
        return Law(
            user_bias=rng.normal(0, USER_DEVIATION, self.users),
            item_bias=item_bias,
            item_bias_after=after,
            hour_bias=rng.normal(0, CONTEXT_DEVIATION, HOURS),
            device_bias=rng.normal(0, CONTEXT_DEVIATION, DEVICES),
            slot_bias=rng.normal(0, CONTEXT_DEVIATION, self.contexts),
            user_factors=rng.normal(0, self.factor_deviation, (self.users, self.dimensions)),
            item_factors=rng.normal(0, self.factor_deviation, (self.items, self.dimensions)),
            user_distribution=_zipf(self.users, self.user_exponent),
            item_distribution=_zipf(self.items, self.item_exponent),
        )

    def batches(self, size: int = BLOCK) -> Iterator[PlantedBatch]:
        """Draw the stream in batches of `size` events; the last one may be shorter."""
        parts: list[PlantedBatch] = []
        for number in range(-(-self.events // BLOCK)):
            block = self.block(number)
            at, end = block.first, block.first + len(block)
            while at < end:
                # A batch ends at the next multiple of `size`, which may lie blocks ahead.
                stop = min(at - at % size + size, self.events)
                parts.append(block.part(at, min(stop, end)))
                if stop > end:
                    break
                yield PlantedBatch.joined(parts)
                parts, at = [], stop

    def truth(self) -> Truth:
        """Draw the whole stream to know what is true of it: over a million events a second."""
        tally = Tally(self)
        for batch in self.batches():
            tally.add(batch)
        return tally.truth()

    @property
    def irreducible_log_loss(self) -> float:
        """Give the mean entropy of the labels over all events; draws the stream."""
        return self.truth().irreducible_log_loss

    def block(self, number: int) -> PlantedBatch:
        """Draw events number `BLOCK * number` on, `BLOCK` of them or as many as there are."""
        # A block is drawn whole and cut afterwards, so that a longer stream begins with the shorter one.
        law, first = self.law, number * BLOCK
        draws = np.random.default_rng([self.seed, EVENTS, number]).random((6, BLOCK))
        draws = draws[:, : self.events - first]
        index = first + np.arange(draws.shape[1])
        user = np.searchsorted(law.user_distribution, draws[0], side="right")
        item = np.searchsorted(law.item_distribution, draws[1], side="right")
        hour, device, slot = (
            (draws[row] * count).astype(np.int64) for row, count in ((2, HOURS), (3, DEVICES), (4, self.contexts))
        )
        drift = self.events if self.drift_event is None else self.drift_event
        logit = (
            INTERCEPT
            + law.user_bias[user]
            + np.where(index < drift, law.item_bias[item], law.item_bias_after[item])
            + law.hour_bias[hour]
            + law.device_bias[device]
            + law.slot_bias[slot]
            + (law.user_factors[user] * law.item_factors[item]).sum(axis=1)
        )
        truth = 1 / (1 + np.exp(-logit))
        return PlantedBatch(
            first=first,
            user=user,
            item=item,
            hour=hour,
            device=device,
            slot=slot,
            labels=(draws[5] < truth).astype(np.int64),
            truth=truth,
            times=self.start_time + (index * (1000 / self.events_per_second)).astype(np.int64),
        )


def entropy(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the entropy of Bernoulli labels in nats: the expected log loss of who knows their probability."""
    inside = np.clip(probability, 1e-300, 1)
    outside = np.clip(1 - probability, 1e-300, 1)
    result: NDArray[np.float64] = 0.0 - probability * np.log(inside) - (1 - probability) * np.log(outside)
    return result


def _zipf(count: int, exponent: float) -> NDArray[np.float64]:
    weights = 1 / np.arange(1, count + 1) ** exponent
    cumulative: NDArray[np.float64] = np.cumsum(weights)
    cumulative /= cumulative[-1]  # exactly 1 at the end: no draw below 1 falls out
    return cumulative
