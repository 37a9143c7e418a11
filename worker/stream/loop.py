"""The loop: poll -> [decode -> features] -> [predict -> learn] -> [commit]; each pair of brackets is a thread."""

import logging
import time
from collections.abc import Callable

from confluent_kafka import Consumer, TopicPartition

from worker.config import Config
from worker.observe.health import Health
from worker.pipeline import Pipeline
from worker.snapshot.manifest import Manifest
from worker.snapshot.sealing import Writing
from worker.stream.assignment import Assignment
from worker.stream.commits import Commits
from worker.stream.deadline import Deadline
from worker.stream.held import Held
from worker.stream.owned import Owned
from worker.stream.polling import after, by_shard
from worker.stream.report import Report
from worker.stream.stages import Stages
from worker.stream.transaction import AbortedError, Transactions
from worker.stream.trim import Trimmer

_LOG = logging.getLogger(__name__)
_IDLE_SECONDS = 0.1  # the longest that a turn waits for events: what a signal, or a restored shard, waits at most
_BUSY_SECONDS = 0.01  # the same while a commit is on its way: it is judged as soon as it has ended
_POLLS_AHEAD = 2  # so much is polled before it is learned: one poll is prepared while another one is learned
_ROOM_SECONDS = 0.5  # without room for more, partitions are paused: the group has to be served all the same
_STUCK_TIMEOUTS = 4  # a transaction and its abort take two of its timeouts at most
# A shard without events folds in what others have learned this late: rarely, since every version costs its readers, but
# often enough that a restore has little to read, and little is held for it.
_SILENT_INTERVALS, _SILENT_SECONDS = 10, 5.0


class Loop:
    """One worker's life. The group's callbacks come in this thread, and all that concerns them is decided in it."""

    def __init__(
        self,
        *,
        config: Config,
        consumer: Consumer,
        transactions: Transactions,
        writing: Writing,
        partitions: int,
        held: Held | None,
        trimmer: Trimmer,
        report: Report,
        health: Health,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config, self._consumer, self._held = config, consumer, held
        self._trimmer, self._report, self._health, self._clock = trimmer, report, health, clock
        self._pipeline = Pipeline(config.learning)
        self._stages = Stages(self._pipeline, _POLLS_AHEAD * config.run.poll_events)
        self._commits = Commits(
            config=config, consumer=consumer, stages=self._stages, transactions=transactions, writing=writing,
            held=held, report=report, clock=clock,
        )  # fmt: skip
        self._assignment = Assignment(config, consumer, partitions=partitions, commit=self.commit_all, report=report)
        self._uncommitted = 0.0
        self._finished = 0
        self._paused = False

    def run(self, stopped: Callable[[], bool]) -> None:
        """Learn until stopped; then commit what is learned.

        Raises:
            HeadraceError: where going on is not possible.
        """
        self._assignment.subscribe()
        while not stopped():
            self._beat()
            self.judge(self._commits.look)
            if not self._commits.under_way:  # else a shard that comes back might be told of twice
                self._assignment.begin_restored()
            self._look_at_blocks()
            self._health.set_ready(self._assignment.settled, "joining the group, or restoring shards")
            for shard, messages in self.poll().items():
                if shard in self._assignment.owned:
                    self.learn(self._assignment.owned[shard], messages)
            if self.commit_is_due():
                self.commit()
        self.commit_all()

    def poll(self) -> dict[int, list]:  # type: ignore[type-arg]  # the client's messages
        """Wait for events, no longer than until the next commit; the group's callbacks are served meanwhile."""
        if self._stages.await_room(_ROOM_SECONDS):
            self._pause(paused=False)
            most = self._pipeline.records(self._config.run.poll_events)
            return by_shard(self._consumer.consume(most, self._patience()))
        self._pause(paused=True)
        return by_shard(self._consumer.consume(1, 0))

    def learn(self, owned: Owned, messages: list) -> None:  # type: ignore[type-arg]
        """Hand a shard's records over: they are decoded, predicted and learned beside the loop, in their order."""
        messages = after(messages, owned.read_to)
        if messages and not owned.frozen:
            owned.read_to = messages[-1].offset() + 1
            self._uncommitted += self._stages.hand_over(owned, messages)

    def commit_is_due(self) -> bool:
        """Tell whether the interval is over, or enough was learned, and the last commit is through."""
        if self._commits.under_way or self._clock() < self._commits.not_before:
            return False
        late = self._clock() - self._commits.began >= self._config.commit.interval_seconds
        return late or self._uncommitted >= self._config.commit.max_events

    def commit(self, within_seconds: float | None = None) -> None:
        """Begin to publish the next version of every shard that moved, its offset with it; learning goes on."""
        self._uncommitted = 0.0
        self._commits.begin(self._assignment.owned.values(), self._left_behind(), within_seconds)

    def commit_all(self) -> None:
        """Commit all that was polled, and wait for it: before shards are given up. One deadline bounds all of it."""
        deadline = Deadline.after(self._config.kafka.transaction_timeout_seconds, self._clock)
        self.judge(self._commits.finish)
        for _ in range(2):  # what was refused before; what was learned since
            if self._commits.unfinished(self._assignment.owned.values()) and not deadline.over:
                self.commit(deadline.remaining_seconds)
                self.judge(self._commits.finish)
        self._stages.require_sound()

    def judge(self, ended: Callable[[], list[Manifest] | None]) -> None:
        """See what became of a commit, once it has ended."""
        try:
            manifests = ended()
        except AbortedError:
            self._commits.forget()
            self._assignment.rewind()
            return
        if manifests is not None:
            self._trim(manifests)
            self._keep_up()

    def close(self) -> None:
        """Leave the group, once no transaction is on its way any more."""
        self._commits.close()
        self._assignment.close()
        self._stages.close()

    def _beat(self) -> None:
        """Say that the loop turns, unless what it has set going has come to a stop."""
        finished, self._finished = self._finished, self._stages.finished
        learning = self._stages.idle or self._finished != finished
        longest = _STUCK_TIMEOUTS * self._config.kafka.transaction_timeout_seconds
        if learning and not (self._commits.under_way and self._clock() - self._commits.began > longest):
            self._health.beat()

    def _pause(self, *, paused: bool) -> None:
        """Stop fetching, or begin again: back-pressure."""
        if paused != self._paused:
            topic = self._config.events.topic
            shards = [shard for shard, owned in self._assignment.owned.items() if not owned.frozen]
            places = [TopicPartition(topic, shard) for shard in shards]
            (self._consumer.pause if paused else self._consumer.resume)(places)
            _LOG.debug("fetching is %s", "paused" if paused else "resumed", extra={"action": "back_pressure"})
        self._paused = paused

    def _look_at_blocks(self) -> None:
        """Have judged what is held back for too long; tell of blocks that are refused, and leave frozen shards be."""
        for shard, owned in self._assignment.owned.items():
            block = owned.block
            if block is None:
                continue
            if block.overdue and not owned.frozen:
                self._stages.cut(owned)
            if block.news:
                if block.frozen:
                    self._consumer.pause([TopicPartition(self._config.events.topic, shard)])
                self._report.judged(shard, block.refused, frozen=block.frozen)

    def _left_behind(self) -> list[Owned]:
        """Name the shards without events of their own that for long have not folded in what others have learned."""
        if self._held is None:
            return []
        now, found = self._clock(), []
        patience = max(_SILENT_SECONDS, _SILENT_INTERVALS * self._config.commit.interval_seconds)
        for owned in self._assignment.owned.values():
            if owned.idle_since is None:
                owned.idle_since = now
            if not owned.moved and now - owned.idle_since >= patience and owned.lacks(self._held):
                found.append(owned)
        return found

    def _keep_up(self) -> None:
        """Let go of what every shard has folded in; restore those that lack what is no longer to be had one by one."""
        if self._held is None:
            return
        owned = self._assignment.owned
        self._report.behind(self._held.behind({shard: it.state.peers for shard, it in owned.items()}))
        if not self._assignment.settled:  # one that is being restored may need more
            return
        known = {shard: it.known for shard, it in owned.items()}
        self._held.forget(known)
        missing = [shard for shard, peers in known.items() if self._held.lost(shard, peers)]
        if missing:
            self._assignment.rewind(missing)

    def _trim(self, manifests: list[Manifest]) -> None:
        for manifest in manifests:
            if manifest.bases and manifest.bases[-1].completed == manifest.version:
                self._trimmer.trim(manifest.shard, manifest.bases[0].offset)

    def _patience(self) -> float:
        if self._commits.under_way:
            return _BUSY_SECONDS
        due = max(self._commits.began + self._config.commit.interval_seconds, self._commits.not_before)
        return min(_IDLE_SECONDS, max(due - self._clock(), 0.0))
