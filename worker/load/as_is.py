"""The job of `headrace load` for a recording: its records, as they were recorded, into the event topic."""

import time
from collections.abc import Callable

from worker.config import Config
from worker.load.job import Summary
from worker.recording import Recording
from worker.stream.verbatim import Verbatim

_SPAN_MS = 1_000  # partitions take turns by a second of their timestamps, as they did about when they were recorded


def load_as_is(
    config: Config,
    recording: Recording,
    *,
    append: bool = False,
    rate: float | None = None,
    progress: Callable[[int], None] | None = None,
    monotonic: Callable[[], float] = time.monotonic,
    now: Callable[[], float] = time.time,
) -> Summary:
    """Send the records of a recording to the event topic: partition, key, value, headers and timestamp as they are.

    Args:
        config: names the topic.
        recording: where they are.
        append: also into a topic that holds records already.
        rate: records a second; None is as fast as it goes.
        progress: called with the number of records of each step.
        monotonic: the clock of the rate.
        now: seconds since 1970.

    Raises:
        IncompatibleDataError: the recording is damaged, or the topic would not take its records as they are.
        ConfigurationError: there is no such topic, or it holds records.
        BrokerUnreachableError: see `Verbatim`.
    """
    start = monotonic()
    sender = Verbatim(config, config.events.topic, rate=rate, monotonic=monotonic)
    sender.check(recording.shards, recording.times, round(now() * 1_000), append=append)
    try:
        sender.send(recording.interleaved(_SPAN_MS), progress or (lambda _step: None))
        sender.flush()
    except BaseException:
        sender.delivery.purge()
        raise
    seconds = monotonic() - start
    return Summary(
        topic=sender.topic,
        partitions=sender.partitions,
        files=recording.files,
        events=sender.sent,
        seconds=seconds,
        events_per_second=sender.sent / seconds if seconds > 0 else 0.0,
        restamped=sender.restamped,
    )
