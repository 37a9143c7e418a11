"""Which shards this worker owns: given and taken by the group, restored beside the loop, and rewound after an abort.

Nothing long happens inside the group's callbacks. A shard that is assigned stays paused while a thread restores it;
the loop goes on with the others and begins with this one when it is ready. A shard that is revoked is committed first,
one that is lost is not: its new owner is at work already.
"""

import logging
import threading
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from worker.config import Config
from worker.errors import IncompatibleDataError
from worker.snapshot.kinds import breaker_of
from worker.stream.owned import MessageBlock, Owned
from worker.stream.report import Report
from worker.stream.restore import Restored, restore

_LOG = logging.getLogger(__name__)
_RESTORES_AT_ONCE = 2  # more would take the cores from learning
# The client has not begun to fetch the partition, or has not ended since it last did.
_NOT_YET = (KafkaError._STATE, KafkaError._PREV_IN_PROGRESS)  # noqa: SLF001 - the client's public constants


@dataclass(frozen=True, kw_only=True)
class _Restoring:
    outcome: Future[Restored]
    cancelled: threading.Event


class Assignment:
    """The shards of this worker.

    Args:
        config: the configuration.
        consumer: the group member.
        partitions: how many partitions the model topic has.
        commit: commits what is learned, before shards are given up; called inside the group's callback, so bounded.
        report: rebalances, restores.
    """

    def __init__(
        self,
        config: Config,
        consumer: Consumer,
        *,
        partitions: int,
        commit: Callable[[], None],
        report: Report,
    ) -> None:
        self.owned: dict[int, Owned] = {}
        self._restoring: dict[int, _Restoring] = {}
        self._closed = False
        self._joined = False
        self._config, self._consumer, self._partitions = config, consumer, partitions
        self._commit, self._report = commit, report
        self._pool = ThreadPoolExecutor(_RESTORES_AT_ONCE, thread_name_prefix="restore")
        kafka = config.kafka
        self._incremental = kafka.group_protocol == "consumer" or kafka.assignor == "cooperative-sticky"

    @property
    def settled(self) -> bool:
        """Tell whether we are a member, and every shard given to us is being learned."""
        return self._joined and not self._restoring

    def subscribe(self) -> None:
        """Join the group."""
        self._consumer.subscribe(
            [self._config.events.topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
        )

    def begin_restored(self) -> None:
        """Begin with the shards whose restore is done.

        Raises:
            HeadraceError: a restore failed.
        """
        for shard, restoring in list(self._restoring.items()):
            if not restoring.outcome.done():
                continue
            restored = restoring.outcome.result()
            if not self._seek(shard, restored.state.next_offset):
                continue  # the client is not yet ready to fetch it: next turn
            del self._restoring[shard]
            breaker = breaker_of(self._config.learning)
            packed = self._config.events.format == "arrow"
            block = MessageBlock(breaker, packed=packed) if breaker is not None else None
            self.owned[shard] = Owned.restored(restored.state, restored.backlog, block)
            self._report.began(restored.state, restored.seconds)

    def rewind(self, shards: Collection[int] | None = None) -> None:
        """Forget what is not committed: restore these shards, or all, as they were, and read on from there."""
        shards = list(self.owned) if shards is None else shards
        self._forget(shards)
        self._consumer.pause([self._partition(shard) for shard in shards])
        self._restore(shards)

    def close(self) -> None:
        """Leave the group. What is not committed by now will be learned by the next owner."""
        self._closed = True  # the group's callbacks still come, an assignment among them
        self._forget([*self.owned, *self._restoring])
        self._consumer.close()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._joined = True  # with no shard at all too: there may be more members than partitions
        self._report.metrics.rebalances.labels("assigned").inc()
        shards = [partition.partition for partition in partitions]
        _LOG.info("assigned shards %s", shards, extra={"action": "assign"})
        if any(shard >= self._partitions for shard in shards):
            raise IncompatibleDataError(
                f"{self._config.events.topic} has grown to more partitions than the {self._partitions} of "
                f"{self._config.model.topic}: events move to other shards than the ones that know them. "
                "Make a new model topic with as many partitions (`headrace topics create`) and learn into it"
            )
        # Paused at the start, whatever the group's offset: the restore says where to go on.
        places = [self._partition(shard, OFFSET_BEGINNING) for shard in shards]
        if self._incremental:
            consumer.incremental_assign(places)
        else:
            consumer.assign(places)
        consumer.pause(places)
        self._restore(shards)

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._report.metrics.rebalances.labels("revoked").inc()
        if not self._closed:  # who leaves has committed already, or cannot
            self._commit()
        self._give_up(consumer, partitions, "revoke")

    def _lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._joined = False
        self._report.metrics.rebalances.labels("lost").inc()
        self._give_up(consumer, partitions, "lost")

    def _give_up(self, consumer: Consumer, partitions: list[TopicPartition], action: str) -> None:
        shards = [partition.partition for partition in partitions]
        _LOG.info("gave up shards %s", shards, extra={"action": action})
        self._forget(shards)
        for shard in shards:
            self._report.gave_up(shard)
        if self._incremental:
            consumer.incremental_unassign(partitions)
        else:
            consumer.unassign()

    def _restore(self, shards: Iterable[int]) -> None:
        for shard in () if self._closed else shards:
            cancelled = threading.Event()
            outcome = self._pool.submit(restore, self._config, shard, self._partitions, cancelled)
            self._restoring[shard] = _Restoring(outcome=outcome, cancelled=cancelled)

    def _forget(self, shards: Iterable[int]) -> None:
        for shard in shards:
            owned = self.owned.pop(shard, None)
            if owned is not None:
                owned.given_up = True
            restoring = self._restoring.pop(shard, None)
            if restoring is not None:
                restoring.cancelled.set()
                restoring.outcome.cancel()

    def _seek(self, shard: int, offset: int) -> bool:
        place = self._partition(shard, offset)
        try:
            self._consumer.seek(place)
        except KafkaException as error:
            if error.args[0].code() in _NOT_YET:
                return False
            raise
        self._consumer.resume([place])
        return True

    def _partition(self, shard: int, offset: int = 0) -> TopicPartition:
        return TopicPartition(self._config.events.topic, shard, offset)
