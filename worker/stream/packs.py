"""Events on their way into packed messages: each partition's wait for one another, in their order."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import orjson

from worker.errors import HeadraceError
from worker.events.pack import pack
from worker.events.partition import partition
from worker.learning import Events

PACK_EVENTS = 1_000  # a message: decoding one costs some 0.1 ms, beside which as many events are as cheap as they get
WAIT_SECONDS = 0.5  # the longest that an event waits for others: half of a commit's interval


@dataclass(frozen=True, kw_only=True)
class Packed:
    """A message that is ready to be sent."""

    partition: int
    value: bytes
    events: int


@dataclass(kw_only=True)
class _Pack:
    events: list[bytes] = field(default_factory=list)  # as JSON
    size: int = 0  # theirs, in bytes
    since: float = 0.0


class Packs:
    """Parts events by the partitions that their keys hash to, and packs them."""

    def __init__(
        self, events: Events, partitions: int, *, most: int, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Pack up to `most` events a message, and no more of them than about `events.max_bytes`."""
        self._events, self._partitions, self._most, self._monotonic = events, partitions, most, monotonic
        self._packs: dict[int, _Pack] = {}

    def add(self, keys: Sequence[bytes], values: Sequence[bytes]) -> Iterator[Packed]:
        """Take JSON events, each with its key; give the messages that are full, or have waited long enough."""
        now = self._monotonic()
        for key, value in zip(keys, values, strict=True):
            where = partition(key, self._partitions, self._events.partitioner)
            pack_ = self._packs.get(where)
            if pack_ is not None and pack_.size + len(value) > self._events.max_bytes:
                yield from self._take(where)
                pack_ = None
            if pack_ is None:
                pack_ = self._packs[where] = _Pack(since=now)
            pack_.events.append(value)
            pack_.size += len(value)
            if len(pack_.events) >= self._most:
                yield from self._take(where)
        for where in [where for where, waiting in self._packs.items() if now - waiting.since >= WAIT_SECONDS]:
            yield from self._take(where)

    def rest(self) -> Iterator[Packed]:
        """Give all that still wait."""
        for where in list(self._packs):
            yield from self._take(where)

    def _take(self, where: int) -> Iterator[Packed]:
        yield from self._packed(where, [orjson.loads(value) for value in self._packs.pop(where).events])

    def _packed(self, where: int, events: list[dict[str, object]]) -> Iterator[Packed]:
        value = pack(events)
        if len(value) <= self._events.max_bytes:
            yield Packed(partition=where, value=value, events=len(events))
            return
        half = len(events) // 2
        if half == 0:
            raise HeadraceError(
                f"an event takes {len(value):,} bytes as a packed message, more than events.max_bytes = "
                f"{self._events.max_bytes:,}: raise it, or leave the event out"
            )
        yield from self._packed(where, events[:half])
        yield from self._packed(where, events[half:])
