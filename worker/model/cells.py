"""What a shard remembers beside its rows: numbers of a fixed count, each found by its place.

Counters of a sketch, the window of event ids, running statistics of numbers: all are 64-bit words in named regions of
one array. It knows which words were written since the last version and digests all of them, as a table does with its
rows, so whatever is kept here travels in versions, is restored, and is verified.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from worker.model.arithmetic import mix
from worker.model.compiling import leaf

CELL_BYTES = 8 + 1 + 4  # of a word: itself, whether it was written, and its place among those that were


@dataclass(frozen=True, kw_only=True)
class Words:
    """Some words, by value."""

    places: NDArray[np.int64]  # [n]
    values: NDArray[np.uint64]  # [n]

    def __len__(self) -> int:
        """Count them."""
        return len(self.places)

    def __getitem__(self, which: slice) -> "Words":
        """Take some of them."""
        return Words(places=self.places[which], values=self.values[which])


@dataclass(frozen=True, kw_only=True)
class Memory:
    """The arrays that kernels read and, through `write`, change."""

    words: NDArray[np.uint64]  # [size]
    written: NDArray[np.bool_]  # [size] since the last version
    places: NDArray[np.int32]  # [size] of those, in the order in which they were first written
    counts: NDArray[np.int64]  # [1] how many of them there are
    digest: NDArray[np.uint64]  # [1] of the words that were not written


class Cells:
    """Words in named regions, all zero at first.

    Args:
        regions: how many words each region has.
    """

    def __init__(self, regions: Mapping[str, int]) -> None:
        self.starts: dict[str, int] = {}
        self.sizes = dict(regions)
        self.puts = 0  # calls of `put`: who keeps something that follows from the words makes it anew after one
        size = 0
        for name, words in regions.items():
            self.starts[name] = size
            size += words
        self.memory = Memory(
            words=np.zeros(size, np.uint64), written=np.zeros(size, np.bool_), places=np.zeros(size, np.int32),
            counts=np.zeros(1, np.int64), digest=np.zeros(1, np.uint64),
        )  # fmt: skip

    def __len__(self) -> int:
        """Count the words."""
        return len(self.memory.words)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        memory = self.memory
        return memory.words.nbytes + memory.written.nbytes + memory.places.nbytes

    def region(self, name: str) -> NDArray[np.uint64]:
        """View the words of a region; read only: what changes them is `put`, and kernels by `write` or `mark`."""
        start = self.starts[name]
        view = self.memory.words[start : start + self.sizes[name]]
        view.flags.writeable = False
        return view

    def touched(self) -> Words:
        """Copy the words written since the last `settle`."""
        places = self.memory.places[: self.memory.counts[0]].astype(np.int64)
        return self.get(places)

    def get(self, places: NDArray[np.int64]) -> Words:
        """Copy words."""
        return Words(places=places, values=self.memory.words[places])

    def part(self, start: int, stop: int) -> Words:
        """Copy the words from place start to stop that are not zero."""
        values = self.memory.words[start:stop]
        places = np.flatnonzero(values)
        return Words(places=places + start, values=values[places])

    def put(self, words: Words) -> None:
        """Set words; they count as written."""
        self.puts += 1
        _put(words.places, words.values, *arrays(self.memory))

    def settle(self) -> int:
        """Close the interval since the last call: nothing counts as written any more. Gives the digest of all words."""
        _settle(*arrays(self.memory))
        return int(self.memory.digest[0])


def arrays(
    memory: Memory,
) -> tuple[NDArray[np.uint64], NDArray[np.bool_], NDArray[np.int32], NDArray[np.int64], NDArray[np.uint64]]:
    """Give a memory as the arguments of a kernel."""
    return memory.words, memory.written, memory.places, memory.counts, memory.digest


@leaf
def mark(place, words, written, places, counts, digest) -> None:
    """Note that a word is about to be set; whoever sets one without does not tell readers of it."""
    if not written[place]:
        written[place] = True
        places[counts[0]] = place
        counts[0] += 1
        digest[0] -= hash_word(place, words[place])


@leaf
def write(place, value, words, written, places, counts, digest) -> None:
    """Set one word."""
    mark(place, words, written, places, counts, digest)
    words[place] = value


@njit(cache=True, nogil=True)
def _put(at, values, words, written, places, counts, digest):
    for i in range(len(at)):
        write(at[i], values[i], words, written, places, counts, digest)


@njit(cache=True, nogil=True)
def _settle(words, written, places, counts, digest):
    for i in range(counts[0]):
        place = places[i]
        digest[0] += hash_word(int(place), words[place])
        written[place] = False
    counts[0] = 0


@leaf
def hash_word(place: int, word: np.uint64) -> np.uint64:
    """Give what a word adds to the digest."""
    return mix(mix(np.uint64(place) + np.uint64(1)) ^ word) if word else np.uint64(0)
