"""The loop: poll -> decode -> features -> predict -> learn -> commit."""

import logging
import time
from collections.abc import Callable, Collection

from confluent_kafka import Consumer

from worker.config import Config
from worker.errors import FencedError, HeadraceError
from worker.observe.health import Health
from worker.pipeline import Pipeline
from worker.snapshot.manifest import Manifest
from worker.stream.assignment import Assignment
from worker.stream.held import Held
from worker.stream.owned import Owned
from worker.stream.polling import by_shard, columns
from worker.stream.report import Report
from worker.stream.transaction import AbortedError, RefusedError, Transactions
from worker.stream.trim import Trimmer

_LOG = logging.getLogger(__name__)
_IDLE_SECONDS = 0.1  # the longest that a turn waits for events: what a signal, or a restored shard, waits at most
_MOST_ABORTS = 8  # in a row: from then on it is no passing trouble
_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.1, 5.0  # before a commit is tried again after an abort
# A shard without events folds in what others have learned this late: rarely, since every version costs its readers, but
# often enough that a restore has little to read, and little is held for it.
_SILENT_INTERVALS, _SILENT_SECONDS = 10, 5.0


class Loop:
    """One worker's life: everything here happens in one thread, in this order, turn after turn."""

    def __init__(
        self,
        *,
        config: Config,
        consumer: Consumer,
        transactions: Transactions,
        partitions: int,
        held: Held | None,
        trimmer: Trimmer,
        report: Report,
        health: Health,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config, self._consumer, self._transactions = config, consumer, transactions
        self._held, self._trimmer, self._report, self._health, self._clock = held, trimmer, report, health, clock
        self._pipeline = Pipeline(config.learning)
        self._assignment = Assignment(config, consumer, partitions=partitions, commit=self.commit, report=report)
        self._last_commit = clock()
        self._uncommitted = 0
        self._aborts = 0

    def run(self, stopped: Callable[[], bool]) -> None:
        """Learn until stopped; then commit what is learned.

        Raises:
            HeadraceError: where going on is not possible.
        """
        self._assignment.subscribe()
        while not stopped():
            self._health.beat()
            self._assignment.begin_restored()
            self._health.set_ready(self._assignment.settled, "joining the group, or restoring shards")
            for shard, messages in self.poll().items():
                if shard in self._assignment.owned:
                    self.learn(self._assignment.owned[shard], messages)
            if self.commit_is_due():
                self.commit(self._left_behind())
                self._keep_up()
        self.commit()

    def poll(self) -> dict[int, list]:  # type: ignore[type-arg]  # the client's messages
        """Wait for events, no longer than until the next commit; the group's callbacks are served meanwhile."""
        return by_shard(self._consumer.consume(self._config.run.poll_events, self._patience()))

    def learn(self, owned: Owned, messages: list) -> None:  # type: ignore[type-arg]
        """Decode, predict and learn a shard's records; the bad ones wait for the commit."""
        records = columns(messages, owned.state.next_offset)
        if not records.messages:
            return
        learned = self._pipeline.learn(owned.state, records.values, records.timestamps, records.next_offset)
        owned.dead_letters += [(records.messages[bad.index], str(bad.reason), bad.detail) for bad in learned.rejected]
        self._uncommitted += len(records.messages)
        _LOG.debug(
            "shard %d: %d records", owned.state.shard, len(records.messages),
            extra={"action": "learn", "shard": owned.state.shard},
        )  # fmt: skip

    def commit_is_due(self) -> bool:
        """Tell whether the interval is over, or enough was learned."""
        late = self._clock() - self._last_commit >= self._config.commit.interval_seconds
        return late or self._uncommitted >= self._config.commit.max_events

    def commit(self, also: Collection[Owned] = ()) -> None:
        """Publish the next version of every shard that moved, and of these, or go back to the last one.

        The offset of each goes with it.
        """
        moved = [owned for owned in self._assignment.owned.values() if owned.moved]
        moved += also
        began = self._clock()
        self._last_commit, self._uncommitted = began, 0
        if not moved:
            return
        for owned in moved:
            owned.idle_since = began
        try:
            manifests = self._transactions.commit(moved, self._config.kafka.transaction_timeout_seconds)
        except (RefusedError, AbortedError) as error:
            self._put_up_with(error)
            if isinstance(error, AbortedError):
                self._assignment.rewind()
            return
        except FencedError:
            self._report.fenced()
            raise
        self._aborts = 0
        self._report.committed(moved, manifests, self._clock() - began)
        self._trim(manifests)

    def close(self) -> None:
        """Leave the group."""
        self._assignment.close()

    def _put_up_with(self, error: HeadraceError) -> None:
        self._aborts += 1
        self._report.aborted()
        then = (
            "going back to the last commit" if isinstance(error, AbortedError) else "it goes out with the next commit"
        )
        _LOG.warning("%s; %s", error, then, extra={"action": "abort"})
        # The next try waits, twice as long each time: a passing trouble has some ten seconds to pass.
        self._last_commit = self._clock() + min(_LONGEST_PAUSE_SECONDS, _PAUSE_SECONDS * 2**self._aborts)
        if self._aborts >= _MOST_ABORTS:
            raise HeadraceError(f"{self._aborts} transactions in a row were aborted, the last because: {error}")

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
        left = self._config.commit.interval_seconds - (self._clock() - self._last_commit)
        return min(_IDLE_SECONDS, max(left, 0.0))
