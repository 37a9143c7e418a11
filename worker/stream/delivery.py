"""Records on their way to a topic: handed over with back-pressure, and each known to have arrived, or why not."""

import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from worker.errors import BrokerUnreachableError, ConfigurationError, HeadraceError
from worker.stream.client import Settings

# A broker that restarts is back within some 20 s, and an election takes less: a minute outlasts both, and is as
# long as a person at a terminal believes that something still goes on.
DELIVERY_SECONDS = 60.0
WAIT_SECONDS = 0.1  # how long one wait lasts before errors are looked at again


class Delivery:
    """Delivers to one topic.

    Args:
        topic: where to.
        settings: of the producer, secrets in the clear.
        what: is sent, in messages: "events", "records".
        too_large: what to do about one that the topic refuses for its size.
        monotonic: the clock, in seconds.

    Raises:
        ConfigurationError: librdkafka refuses a setting.
    """

    def __init__(
        self,
        topic: str,
        settings: Settings,
        *,
        what: str,
        too_large: str,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.failed = 0  # events reported as not delivered
        self._topic, self._what, self._too_large, self._monotonic = topic, what, too_large, monotonic
        self._failure: KafkaError | None = None
        try:
            self._producer = Producer({**settings, "on_delivery": self._reported})
        except KafkaException as error:
            raise ConfigurationError(f"[kafka.producer]: {error.args[0].str()}") from error

    def __len__(self) -> int:
        """Count the records that are not reported yet."""
        return len(self._producer)

    def produce(self, *, events: int = 1, **record: Any) -> None:  # noqa: ANN401 - handed to the client as it is
        """Queue a record that holds so many events; waits while the queue is full."""
        if events > 1:
            record["on_delivery"] = lambda error, _message: self._note(error, events)
        while True:
            try:
                self._producer.produce(self._topic, **record)
            except BufferError:  # the queue is full: the broker sets the pace
                self.serve(WAIT_SECONDS)
            except KafkaException as error:
                raise self._explained(error.args[0]) from error
            else:
                return

    def serve(self, seconds: float = 0.0) -> None:
        """Hear what was delivered, for so long.

        Raises:
            BrokerUnreachableError: something could not be delivered within `DELIVERY_SECONDS`.
            ConfigurationError: the topic is not there, or may not be written to.
            HeadraceError: the broker refused something.
        """
        self._producer.poll(seconds)
        if self._failure is not None:
            raise self._explained(self._failure)

    def flush(self, sent: int, seconds: float = DELIVERY_SECONDS) -> None:
        """Wait until everything is acknowledged, `sent` in all; raises as `serve` does."""
        deadline = self._monotonic() + seconds
        while left := self._producer.flush(WAIT_SECONDS):
            self.serve()
            if self._monotonic() >= deadline:
                self.purge()
                raise BrokerUnreachableError(
                    f"{left} of {sent} {self._what} for topic {self._topic!r} were not acknowledged within "
                    f"{seconds:.0f} s: see `headrace doctor`"
                )
        self.serve()

    def purge(self) -> None:
        """Drop what is still queued."""
        self._producer.purge()

    def _reported(self, error: KafkaError | None, _message: object) -> None:
        self._note(error, 1)

    def _note(self, error: KafkaError | None, events: int) -> None:
        if error is not None:
            self.failed += events
            self._failure = self._failure or error

    def _explained(self, error: KafkaError) -> HeadraceError:
        told = f"{self._what} for topic {self._topic!r} were not delivered: {error.str()}"
        code = error.code()
        if code == KafkaError.MSG_SIZE_TOO_LARGE:
            return HeadraceError(f"{told}; {self._too_large}")
        if code in (KafkaError.INVALID_TIMESTAMP, KafkaError.INVALID_RECORD):
            return HeadraceError(
                f"{told}; a compacted topic takes no record without a key, and message.timestamp.before.max.ms and "
                "message.timestamp.after.max.ms bound timestamps"
            )
        if code in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED):
            return ConfigurationError(f"{told}; the user needs the right to write to the topic")
        if code in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):  # noqa: SLF001
            return ConfigurationError(f"{told}; make it with `headrace topics create`")
        return BrokerUnreachableError(f"{told}; see `headrace doctor`")
