"""Events for a test, with bad records among them, at a pace of the test's choosing."""

import itertools
import threading
from collections.abc import Container, Iterator
from typing import Final, Self

import numpy as np
from confluent_kafka import KafkaError, Message, Producer

from tests.support.stage import Stage
from worker.simulate import Planted
from worker.simulate.encoding import encode

# Each is a reason to reject; a thousandth of the events are replaced by one of them.
BAD: Final[tuple[bytes | None, ...]] = (
    b"not json at all",
    b'{"user":"u1","item":"i1","label":1',
    b'{"user":"u1","item":"i1","time":1735689600000}',  # no label
    b'{"user":"u1","item":"i1","label":7,"time":1735689600000}',
    b'{"user":"u1","item":"i1","label":"yes","time":1735689600000}',
    b'{"user":"u\xff","item":"i1","label":1,"time":1735689600000}',
    b'{"user":"u1","item":"i1","label":1,"time":0}',
    b"[1, 2, 3]",
    b'{"user":"u1","item":"i1","label":NaN,"time":1735689600000}',
    b"",
    b"[" * 10_000,
    None,
)
ONE_BAD_IN = 1_000
_TICK_SECONDS = 0.02
_TURNED = bytes.maketrans(b"01", b"10")


class Feed:
    """Sends the events of a planted stream, each to the partition of its user.

    Attributes:
        sent: records, the bad ones included.
        bad: what each bad record was, by partition and offset; complete after `flush`.
        turned: whether labels are sent turned around, 1 for 0 and 0 for 1: a drift that nobody can miss.
    """

    def __init__(self, stage: Stage, *, seed: int = 0, users: int = 2_000, items: int = 500) -> None:
        self.sent = 0
        self.bad: dict[tuple[int, int], bytes | None] = {}
        self.turned = False
        self._stage = stage
        self._refused: list[KafkaError] = []
        self._records = _records(stage.partitions, seed, users, items)
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._producer = Producer(
            {
                "bootstrap.servers": stage.config.kafka.bootstrap_servers,
                "enable.idempotence": True,
                "linger.ms": 5,
                "message.timeout.ms": 300_000,  # a broker that is away comes back
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
            }
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._producer.close()

    @property
    def valid(self) -> int:
        """Count the events sent that are to be learned from."""
        return self.sent - len(self.bad)

    def send(self, count: int, *, without: Container[int] = ()) -> None:
        """Send the next events, none of them to these partitions; returns when all of them are stored."""
        self._send(count, without)
        self.flush()

    def begin(self, events_per_second: int) -> None:
        """Send events from a thread, on and on, until `stop`."""

        def work() -> None:
            while not self._stopped.wait(_TICK_SECONDS):
                self._send(int(events_per_second * _TICK_SECONDS))

        self._thread = threading.Thread(target=work, name="feed", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def flush(self) -> None:
        """Wait until all that was sent is stored."""
        assert self._producer.flush(120) == 0, "the events could not be sent"
        assert not self._refused, self._refused[0]

    def _send(self, count: int, without: Container[int] = ()) -> None:
        wanted = (record for record in self._records if record[0] not in without)
        for partition, key, value, bad in itertools.islice(wanted, count):
            if self.turned and not bad and value is not None:
                before, label, after = value.partition(b'"label":')
                value = before + label + after[:1].translate(_TURNED) + after[1:]  # noqa: PLW2901
            self._producer.produce(
                self._stage.config.events.topic,
                value,
                key,
                partition,
                on_delivery=self._note_bad if bad else self._note,
            )
            self.sent += 1
        self._producer.poll(0)

    def _note(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self._refused.append(error)

    def _note_bad(self, error: KafkaError | None, message: Message) -> None:
        self._note(error, message)
        self.bad[message.partition(), message.offset()] = message.value()


def _records(partitions: int, seed: int, users: int, items: int) -> Iterator[tuple[int, bytes, bytes | None, bool]]:
    planted = Planted(events=10_000_000, users=users, items=items, seed=seed)
    rng = np.random.default_rng(seed)
    bad = itertools.cycle(BAD)
    for batch in planted.batches():
        spoilt = rng.random(len(batch)) < 1 / ONE_BAD_IN
        for user, value, spoil in zip(batch.user.tolist(), encode(batch), spoilt.tolist(), strict=True):
            yield user % partitions, b"u%d" % user, next(bad) if spoil else value, spoil
