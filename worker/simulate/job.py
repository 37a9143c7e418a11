"""The job of `headrace simulate`: draw, write, send."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from worker.config import Config
from worker.simulate.encoding import encode, keys
from worker.simulate.planted import Planted, Tally, Truth
from worker.stream.packs import PACK_EVENTS
from worker.stream.sending import Sender, slice_events


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What was sent."""

    topic: str
    partitions: int
    events: int  # acknowledged
    seconds: float
    events_per_second: float
    truth: Truth


def epoch_milliseconds() -> int:
    """Read the wall clock."""
    return time.time_ns() // 1_000_000


def simulate(
    config: Config,
    planted: Planted,
    *,
    rate: float | None = None,
    live: bool = True,
    pack_events: int = PACK_EVENTS,
    progress: Callable[[int], None] | None = None,
    now: Callable[[], int] = epoch_milliseconds,
    monotonic: Callable[[], float] = time.monotonic,
) -> Summary:
    """Send a planted stream to the event topic, keyed by the user.

    `rate` is in events a second, None as fast as it goes. A `live` event's time is the moment it is sent, so that
    freshness can be measured; otherwise it is the planted, synthetic one. `pack_events` is
    the most of a message, where `events.format` packs them. `progress` is called with the number of
    events of each step. Raises what `Sender` raises.
    """
    size = slice_events(rate)
    tally = Tally(planted)
    start = monotonic()
    with Sender(config, rate=rate, pack_events=pack_events, progress=progress, monotonic=monotonic) as sender:
        for batch in planted.batches(size):
            sender.wait()
            times = np.full(len(batch), now(), np.int64) if live else batch.times
            sender.send(keys(batch), encode(batch, times))
            tally.add(batch, times)
    seconds = monotonic() - start
    return Summary(
        topic=sender.topic,
        partitions=sender.partitions,
        events=sender.delivered,
        seconds=seconds,
        events_per_second=sender.delivered / seconds if seconds > 0 else 0.0,
        truth=tally.truth(),
    )
