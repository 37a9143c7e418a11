"""Forgetting: what a row has learned beyond its prior fades with a half-life in event time.

In natural parameters (precision, precision times mean) fading is a factor, so it is linear: it does not matter whether
shards fade first and are added up then, or the other way round. Time goes in ticks, of which a half-life has 64; a row
says as of which tick its values are, and is faded when it is next used. The factors come from square roots and
products, which IEEE 754 rounds in one way only.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from worker.model.arithmetic import normal

NEVER = np.int64(-(2**63))  # the event time of a row that was never moved, and the tick before there is a clock
TICKS_SHIFT = 6
TICKS = 1 << TICKS_SHIFT  # of a half-life
_BLOCK = 31  # event times of which the median counts
_GONE = 62  # half-lives after which nothing is left


def _powers() -> NDArray[np.float64]:
    """Give 2^(i / 64) for i from 0 to 64."""
    root = np.float64(2.0)
    for _ in range(TICKS_SHIFT):
        root = np.sqrt(root)
    powers = np.ones(TICKS + 1)
    for i in range(1, TICKS):
        powers[i] = powers[i - 1] * root
    powers[TICKS] = 2.0
    return powers


_GROWTH = _powers()


class Clock:
    """The event time of a shard, by which it forgets. It never goes back.

    A single event says little about the time: its producer's clock may be wrong by years. So the clock follows the
    median of 31 events at a time: late events do not turn it back, and where fewer than half of them have jumped ahead
    it does not follow these.

    Args:
        half_life_ms: milliseconds; 0 where nothing is forgotten, and the tick is 0 throughout.
    """

    def __init__(self, half_life_ms: int) -> None:
        self.tick_ms = half_life_ms // TICKS
        self.words = np.full(2 + _BLOCK, NEVER)  # the time, how many times were seen since, and these
        self.words[1] = 0

    @property
    def runs(self) -> bool:
        """Tell whether anything is forgotten at all."""
        return self.tick_ms > 0

    @property
    def time(self) -> int | None:
        """Milliseconds since 1970; None before the first 31 events."""
        return int(self.words[0]) if self.words[0] != NEVER else None

    @property
    def pending(self) -> list[int]:
        """Event times that have not moved the clock yet."""
        return [int(time) for time in self.words[2 : 2 + self.words[1]]]

    @property
    def tick(self) -> int:
        """The time in ticks; `NEVER` before there is one."""
        return int(tick_of(self.words[0], self.tick_ms))

    @property
    def learned_tick(self) -> int:
        """As of when that counts which was learned lately: before the clock runs, the earliest event tells."""
        if self.words[0] == NEVER and self.words[1]:
            return int(tick_of(self.words[2 : 2 + self.words[1]].min(), self.tick_ms))
        return self.tick

    def set(self, time: int | None, pending: list[int]) -> None:
        """Set it as it was.

        Raises:
            ValueError: so many event times are never pending.
        """
        if len(pending) >= _BLOCK:
            raise ValueError(f"{len(pending)} pending event times")
        self.words[0] = NEVER if time is None else time
        self.words[1] = len(pending)
        self.words[2:] = NEVER
        self.words[2 : 2 + len(pending)] = pending


def growth(tick: int) -> float:
    """Give 2^(part of a half-life by which a tick is past a whole number of them): from 1 to 2."""
    return float(_GROWTH[tick & (TICKS - 1)])


@njit(cache=True, nogil=True)
def tick_of(time: np.int64, tick_ms: int) -> np.int64:
    """Give a time in ticks."""
    if tick_ms == 0:
        return np.int64(0)
    return NEVER if time == NEVER else np.int64(time // tick_ms)


@njit(cache=True, nogil=True)
def advance(words: NDArray[np.int64], time: np.int64) -> None:
    """Take in the time of an event."""
    words[2 + words[1]] = time
    words[1] += 1
    if words[1] == _BLOCK:
        words[0] = max(words[0], np.sort(words[2:])[_BLOCK // 2])
        words[1] = 0
        words[2:] = NEVER


@njit(cache=True, nogil=True)
def left(ticks: np.int64) -> float:
    """Give what is left of 1 after so many ticks."""
    if ticks <= 0:
        return 1.0
    halvings = ticks >> TICKS_SHIFT
    if halvings >= _GONE:
        return 0.0
    rest = ticks & (TICKS - 1)
    return (_GROWTH[TICKS - rest] / 2.0 if rest else 1.0) / np.float64(np.int64(1) << halvings)


@njit(cache=True, nogil=True)
def fade_row(
    row: NDArray[np.float32],
    key: np.uint64,
    share: float,
    seed: np.uint64,
    deviation: float,
    weight_precision: float,
    factor_precision: float,
) -> None:
    """Leave a share of what a row has learned beyond its prior."""
    before = np.float64(row[1])
    now = weight_precision + share * (before - weight_precision)
    row[0] = np.float32(share * before * np.float64(row[0]) / now)
    row[1] = np.float32(now)
    before = np.float64(row[2])
    now = factor_precision + share * (before - factor_precision)
    row[2] = np.float32(now)
    for k in range(len(row) - 3):
        prior = np.float64(np.float32(deviation * normal(key, seed, k))) * factor_precision
        row[3 + k] = np.float32((prior + share * (before * np.float64(row[3 + k]) - prior)) / now)


@njit(cache=True, nogil=True)
def fade_pairs(means: NDArray[np.float32], precisions: NDArray[np.float32], share: float, precision: float) -> None:
    """Leave a share of what the weights of pairs have learned beyond their prior, whose mean is 1."""
    for i in range(len(means)):
        for j in range(i + 1, len(means)):
            before = np.float64(precisions[i, j])
            now = precision + share * (before - precision)
            means[i, j] = np.float32((precision + share * (before * np.float64(means[i, j]) - precision)) / now)
            precisions[i, j] = np.float32(now)
