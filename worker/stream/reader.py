"""Ranges of a topic's partitions, read to their end: every record once and in order, or an error that says why not."""

import time
from collections.abc import Callable, Mapping
from itertools import groupby
from types import TracebackType
from typing import Final, Self

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from worker.errors import BrokerUnreachableError, IncompatibleDataError
from worker.recording.records import Records
from worker.stream.client import Settings
from worker.stream.messages import records_of
from worker.stream.polling import GONE, refuse_forbidden, take

_READ: Final = 10_000  # messages at once
_POLL_SECONDS: Final = 0.5  # until a signal is heard
# A broker that restarts is back within some 20 s, and an election takes less.
_SILENCE_SECONDS: Final = 60.0
# The client passes over what it cannot read, and goes on behind it: a hole that would look like one of the topic's own.
_UNREADABLE: Final = (
    KafkaError._BAD_MSG,  # noqa: SLF001 - the client's public constants
    KafkaError._BAD_COMPRESSION,  # noqa: SLF001
    KafkaError._NOT_IMPLEMENTED,  # noqa: SLF001 - a compression that this client was built without
    KafkaError.INVALID_MSG,
    KafkaError.INVALID_MSG_SIZE,
    KafkaError.MSG_SIZE_TOO_LARGE,
)


class RangeReader:
    """Reads ranges of the partitions of one topic, with a client of its own that joins no group.

    Attributes:
        at: partition -> the offset before which all was given, past the markers of transactions too.
        open: partition -> where its range ends, of those that are not there yet; None goes on until it is left.
    """

    def __init__(
        self,
        settings: Settings,
        topic: str,
        ranges: Mapping[int, tuple[int, int | None]],
        *,
        doing: str,
        gone: str,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin to read.

        Args:
            settings: see `worker.stream.client.reader_settings`.
            topic: its name.
            ranges: partition -> the first offset, and the one after the last; None is open.
            doing: what is done with the records, for messages ("recorded").
            gone: what to do where retention was faster, a sentence.
            monotonic: the clock, in seconds.
        """
        self.topic = topic
        self.at = {number: first for number, (first, _) in ranges.items()}
        self.open = {number: stop for number, (first, stop) in ranges.items() if stop is None or first < stop}
        self._doing, self._gone, self._monotonic = doing, gone, monotonic
        self._silent_seconds, self._last_error = 0.0, ""
        self._consumer = Consumer(settings | {"check.crcs": True})

    def __enter__(self) -> Self:
        self._consumer.assign([TopicPartition(self.topic, number, self.at[number]) for number in self.open])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close()

    def poll(self) -> tuple[list[Records], list[int]]:
        """Give the next records, some of one partition at a time, and the partitions that have come to their end.

        Waits half a second for the first of them.

        Raises:
            ConfigurationError: reading is not permitted.
            IncompatibleDataError: retention was faster, or a record cannot be read.
            BrokerUnreachableError: nothing came for a minute of waiting.
        """
        begun = self._monotonic()
        messages = take(self._consumer, _READ, _POLL_SECONDS)
        self._silent_seconds += self._monotonic() - begun  # only while it waits: writing may wait for its disk
        found = []
        given = [message for message in messages if message.error() is None]
        for number, run in groupby(given, Message.partition):  # the client gives what it fetched of one in a row
            if number in self.open:  # else it was fetched before it was found to be at its end
                records = records_of(list(run))
                begin = self.at[number]
                self._pass(number, int(records.offsets[-1]) + 1)
                found.append(records.between(begin, self.at[number]))
        for message in messages:
            if message.error() is not None:  # after the records: an end lies behind them
                self._judge(message)
        ended = [number for number, stop in self.open.items() if stop is not None and self.at[number] >= stop]
        if ended:
            for number in ended:
                del self.open[number]
            self._consumer.incremental_unassign([TopicPartition(self.topic, number) for number in ended])
        if self._silent_seconds > _SILENCE_SECONDS and any(stop is not None for stop in self.open.values()):
            raise BrokerUnreachableError(self._silence())
        return [records for records in found if len(records)], ended

    def _pass(self, number: int, offset: int) -> None:
        stop = self.open[number]
        self.at[number] = max(self.at[number], offset if stop is None else min(offset, stop))
        self._silent_seconds = 0.0

    def _judge(self, message: Message) -> None:
        error, number = message.error(), message.partition()
        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the client's public constant
            if number in self.open:
                self._pass(number, message.offset())
            return
        refuse_forbidden(error, self.topic)
        if error.code() in GONE and number in self.open:
            raise IncompatibleDataError(
                f"{self.topic} [{number}]: retention deleted offset {self.at[number]} before it was {self._doing} "
                f"({error.str()}). {self._gone}"
            )
        if error.code() in _UNREADABLE:
            raise IncompatibleDataError(
                f"{self.topic} [{number}]: records cannot be read, and are not passed over: {error.str()}"
            )
        if error.fatal():
            raise BrokerUnreachableError(f"topic {self.topic}: {error.str()}; run it again")
        self._last_error = error.str()

    def _silence(self) -> str:
        left = ", ".join(
            f"{number} (at offset {self.at[number]} of {stop})"
            for number, stop in self.open.items()
            if stop is not None
        )
        heard = f"; the last that was heard is: {self._last_error}" if self._last_error else ""
        return (
            f"topic {self.topic} gave nothing for {_SILENCE_SECONDS:g} s, and is not at its end in partition {left}: "
            f"is its leader up? `headrace doctor` tells more{heard}. To go on, run it again"
        )
