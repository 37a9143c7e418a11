"""The commit: one Kafka transaction for the model records and the offsets of every shard that moved."""

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from worker.config import Config
from worker.errors import ConfigurationError, FencedError, HeadraceError
from worker.snapshot.manifest import Manifest
from worker.snapshot.records import Record
from worker.snapshot.sealing import Sealed
from worker.stream.deadline import Deadline
from worker.stream.owned import DeadLetter, Outgoing

_LOG = logging.getLogger(__name__)
Membership = object  # the client's own: of a consumer, in its group, in a generation of that
_FORBIDDEN = (
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
)
# The broker waits longer than this only when it is in trouble; the transaction's own timeout ends it then.
_FULL_QUEUE_SECONDS = 0.05
# A call that is this late does not come back; a busy machine is late by less.
_LOST_SECONDS = 5.0


class AbortedError(HeadraceError):
    """The transaction was aborted: nothing of it is visible, the shards go back to their last version."""


class RefusedError(HeadraceError):
    """The offsets were refused before anything was written: the same versions can be committed later."""


def membership(consumer: Consumer) -> Membership | None:
    """Capture, in the thread that serves the group's callbacks, in whose name offsets go; None if in nobody's.

    A member that was thrown out has the generation it was thrown out of, and the broker refuses it (KIP-447). From
    somebody who names neither a member nor a generation the broker takes offsets without a question.
    """
    found = consumer.consumer_group_metadata()
    return found if consumer.memberid() else None


class Transactions:
    """The transactional producer of one worker; one thread at a time commits with it.

    Args:
        config: the configuration.
        producer: transactional, its transactions initialised.
        wall: milliseconds since 1970.
        clock: seconds that only ever rise.
    """

    def __init__(
        self, config: Config, producer: Producer, *, wall: Callable[[], int], clock: Callable[[], float]
    ) -> None:
        self._config, self._producer, self._wall, self._clock = config, producer, wall, clock

    def commit(self, versions: Sequence[Outgoing], member: Membership | None, within_seconds: float) -> list[Manifest]:
        """Publish the next version of some shards with their offsets and dead letters, all or nothing.

        The offsets go first. Whom the group has thrown out learns it there, before it has written a record: no reader
        has to wait for the end of its transaction, and what it has learned need not be thrown away for a rebalance that
        it merely had not heard of yet. And from there on the group's offset counts as unsettled, so that a takeover
        waits for the end of this transaction before it trusts the model topic.

        Args:
            versions: one a shard, each the one after its last that was committed.
            member: the group member whose offsets are committed.
            within_seconds: the longest that it may take.

        Raises:
            RefusedError: nothing was written, the same versions can be committed later.
            AbortedError: nothing was published; the states are ahead of what is committed and have to be restored.
            FencedError: this process may not write any more, or cannot know whether it did.
        """
        deadline = Deadline.after(within_seconds, self._clock)
        for version in versions:
            version.sealed.encode()  # before the transaction is open: readers wait for its end
        try:
            self._begin(versions, member, deadline)
        except AbortedError as error:
            self._abort()
            raise RefusedError(f"the group takes no offsets from this worker now: {error}") from error
        try:
            for version in versions:
                self._publish(version.sealed, version.owned.state.shard, deadline)
                self._send_dead_letters(version.dead_letters, deadline)
            self._insist(self._producer.commit_transaction, deadline, last=True)
        except AbortedError:
            self._abort()
            raise
        return [version.sealed.settle() for version in versions]

    def _begin(self, versions: Sequence[Outgoing], member: Membership | None, deadline: Deadline) -> None:
        topic = self._config.events.topic
        offsets = [TopicPartition(topic, version.owned.state.shard, version.offset) for version in versions]
        self._insist(lambda _: self._producer.begin_transaction(), deadline)
        if member is None:
            raise AbortedError("it is no member at the moment")
        self._insist(lambda left: self._send_offsets(offsets, member, left), deadline)

    def _send_offsets(self, offsets: list[TopicPartition], member: Membership, within_seconds: float) -> None:
        # Once the group's coordinator has left the cluster this call may not come back, whatever its timeout
        # (https://github.com/confluentinc/librdkafka/issues/5511): so it is made by a thread that can be left behind.
        outcome: Future[None] = Future()

        def send() -> None:
            try:
                outcome.set_result(self._producer.send_offsets_to_transaction(offsets, member, within_seconds))
            except KafkaException as error:
                outcome.set_exception(error)

        threading.Thread(target=send, name="offsets", daemon=True).start()
        try:
            outcome.result(within_seconds + _LOST_SECONDS)
        except TimeoutError:
            raise FencedError(
                "the Kafka client has lost sight of the group's coordinator and does not come back; restart the worker"
            ) from None

    def _publish(self, version: Sealed, shard: int, deadline: Deadline) -> None:
        first: list[int] = []
        lost: list[str] = []

        def note(error: KafkaError | None, message: Message) -> None:
            if error is None:
                first.append(message.offset())
            else:
                lost.append(error.str())

        for number, record in enumerate(version.data):
            self._produce_record(record, shard, deadline, note if number == 0 else None)
        if version.needs_offset:
            self._producer.flush(deadline.remaining_seconds)
            if not first:
                reason = lost[0] if lost else "not in time"
                raise AbortedError(f"shard {shard}: version {version.version} could not be sent: {reason}")
        manifest = version.close(first[0] if first else None, self._wall())
        self._produce_record(manifest, shard, deadline, None)

    def _produce_record(
        self, record: Record, shard: int, deadline: Deadline, note: Callable[[Any, Message], None] | None
    ) -> None:
        self._produce(
            deadline, topic=self._config.model.topic, partition=shard, key=record.key, value=record.value,
            headers=record.headers, on_delivery=note,
        )  # fmt: skip

    def _send_dead_letters(self, dead_letters: Sequence[DeadLetter], deadline: Deadline) -> None:
        for message, bad in dead_letters:
            headers = [
                *(message.headers() or []),
                ("headrace-reason", str(bad.reason).encode()),
                ("headrace-detail", bad.detail.encode()),
                ("headrace-topic", message.topic().encode()),
                ("headrace-partition", str(message.partition()).encode()),
                ("headrace-offset", str(message.offset()).encode()),
                ("headrace-timestamp", str(message.timestamp()[1]).encode()),
            ]
            if bad.row is not None:
                headers.append(("headrace-row", str(bad.row).encode()))
            self._produce(
                deadline, topic=self._config.dead_letter.topic, key=message.key(),
                value=message.value() if bad.value is None else bad.value, headers=headers,
            )  # fmt: skip

    def _produce(self, deadline: Deadline, **record: Any) -> None:  # noqa: ANN401 - handed to the client as it is
        record = {name: value for name, value in record.items() if value is not None}
        while True:
            try:
                self._producer.produce(**record)
            except BufferError:  # the queue is full: let some of it be delivered
                if deadline.over:
                    raise AbortedError("the broker takes records more slowly than they are made") from None
                self._producer.poll(_FULL_QUEUE_SECONDS)
            except KafkaException as error:
                raise self._judge(error, last=False) from error
            else:
                self._producer.poll(0)
                return

    def _insist(self, call: Callable[[float], object], deadline: Deadline, *, last: bool = False) -> None:
        """Make a call of the transaction's protocol until it succeeds, fails for good, or time is up."""
        while True:
            try:
                call(max(0.1, deadline.remaining_seconds))
            except KafkaException as error:
                if not error.args[0].retriable() or error.args[0].txn_requires_abort() or deadline.over:
                    raise self._judge(error, last=last) from error
            else:
                return

    def _abort(self) -> None:
        deadline = Deadline.after(self._config.kafka.transaction_timeout_seconds, self._clock)
        try:
            self._insist(self._producer.abort_transaction, deadline)
        except AbortedError as error:
            raise FencedError(f"the transaction could not even be aborted: {error}; restart the worker") from error

    @staticmethod
    def _judge(error: KafkaException, *, last: bool) -> HeadraceError:
        """Tell what a failed call means."""
        reason = error.args[0]
        if reason.code() in _FORBIDDEN:
            return ConfigurationError(f"Kafka refuses a write: {reason.str()}; `headrace doctor` lists what is needed")
        if reason.fatal():
            return FencedError(f"this worker may not write any more: {reason.str()}; restart it")
        if last and not reason.txn_requires_abort():
            return FencedError(f"whether the commit took place cannot be known: {reason.str()}; restart the worker")
        return AbortedError(f"the transaction was aborted: {reason.str()}")
