"""Commits beside learning: versions are sealed and published in a thread of their own.

A shard is set apart while its version is copied out; the others are learned meanwhile. One transaction is on its way at
a time; the next versions are sealed when it is through. What it was is judged in the loop's thread.
"""

import logging
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial

from confluent_kafka import Consumer

from worker.config import Config
from worker.errors import FencedError, HeadraceError
from worker.snapshot.manifest import Manifest
from worker.snapshot.sealing import Writing
from worker.stream.held import Held
from worker.stream.owned import Outgoing, Owned
from worker.stream.report import Report
from worker.stream.stages import Stages
from worker.stream.transaction import AbortedError, Membership, RefusedError, Transactions, membership

_LOG = logging.getLogger(__name__)
_MOST_ABORTS = 8  # in a row: from then on it is no passing trouble
_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.1, 5.0  # before a commit is tried again after an abort


class Commits:
    """The commits of one worker.

    Args:
        config: the configuration.
        consumer: the group member whose offsets are committed.
        stages: where shards are learned, and versions sealed.
        transactions: publishes versions.
        writing: how versions are written.
        held: what the other shards have added; None where shards are not merged.
        report: told of every outcome.
        clock: seconds that only ever rise.
    """

    def __init__(
        self,
        *,
        config: Config,
        consumer: Consumer,
        stages: Stages,
        transactions: Transactions,
        writing: Writing,
        held: Held | None,
        report: Report,
        clock: Callable[[], float],
    ) -> None:
        self._timeout_seconds = config.kafka.transaction_timeout_seconds
        self._consumer, self._stages, self._transactions = consumer, stages, transactions
        self._writing, self._held, self._report, self._clock = writing, held, report, clock
        self._publishing = ThreadPoolExecutor(1, thread_name_prefix="publish")
        self._versions: Future[list[Outgoing]] | None = None  # of the transaction that is on its way
        self._manifests: Future[list[Manifest]] | None = None
        self._kept: list[Outgoing] = []  # versions that were refused, to go out with the next transaction
        self._aborts = 0
        self.began = clock()  # the last one
        self.not_before = self.began  # the next one: after an abort it waits

    @property
    def under_way(self) -> bool:
        """Tell whether a transaction is on its way."""
        return self._manifests is not None

    def begin(self, shards: Iterable[Owned], also: Collection[Owned] = (), within_seconds: float | None = None) -> None:
        """Seal the next version of every shard that moved, and of these others, and publish them with their offsets.

        Versions that were refused before go first, alone. Publishing takes a transaction's timeout at most, unless told
        otherwise.
        """
        within_seconds = self._timeout_seconds if within_seconds is None else within_seconds
        kept = [version for version in self._kept if not version.owned.given_up]
        shards, also = list(shards), list(also)
        self._kept = []
        self.began = self.not_before = self._clock()
        due = [(owned, owned.handed_over) for owned in shards]
        self._versions = self._publishing.submit(lambda: kept or self._seal(due, also))
        member = membership(self._consumer)
        self._manifests = self._publishing.submit(self._publish, self._versions, member, within_seconds)

    def look(self) -> list[Manifest] | None:
        """Judge the transaction that was on its way, if it has ended; gives the versions that are committed by it.

        None where none has ended.

        Raises:
            AbortedError: the shards have to be restored as they were committed.
            HeadraceError: going on is not possible.
        """
        if self._versions is None or self._manifests is None or not self._manifests.done():
            return None
        versions, ended = self._versions, self._manifests
        self._versions = self._manifests = None
        try:
            manifests = ended.result()
        except RefusedError as error:
            self._kept = versions.result()
            self._put_up_with(error, "it goes out with the next commit")
            return []
        except AbortedError as error:
            self._put_up_with(error, "going back to the last commit")
            raise
        except FencedError:
            self._report.fenced()
            raise
        if manifests:
            self._aborts = 0
            self._report.committed(versions.result(), manifests, self._clock() - self.began)
        return manifests

    def finish(self) -> list[Manifest] | None:
        """Wait for the end of the transaction that is on its way, and judge it as `look` does.

        That keeps to a deadline of its own, so it does end.
        """
        if self._manifests is not None:
            wait([self._manifests])
        return self.look()

    def forget(self) -> None:
        """Drop the versions that were refused: their shards are restored."""
        self._kept = []

    def close(self) -> None:
        """Wait until nothing is on its way any more."""
        self._publishing.shutdown(cancel_futures=True)

    def unfinished(self, shards: Iterable[Owned]) -> bool:
        """Tell whether something of these shards is learned, or refused, and not committed."""
        return self.under_way or not self._stages.idle or bool(self._kept) or any(owned.moved for owned in shards)

    def _seal(self, due: list[tuple[Owned, int]], also: list[Owned]) -> list[Outgoing]:
        """Copy the versions out, one shard after the other: the others are learned meanwhile."""
        stood_still_seconds = self._stages.stood_still_seconds
        sealed = []
        for owned, batches in due:
            version = self._stages.apart(owned, batches, partial(self._seal_one, owned, silent=owned in also))
            if version is not None:
                sealed.append(version)
        if sealed:
            self._report.stood_still(self._stages.stood_still_seconds - stood_still_seconds)
        return sealed

    def _seal_one(self, owned: Owned, *, silent: bool) -> Outgoing | None:
        if owned.given_up or not (owned.moved or silent):
            return None
        owned.idle_since = self._clock()
        return owned.seal(self._writing, self._held)

    def _publish(
        self, versions: "Future[list[Outgoing]]", member: Membership | None, within_seconds: float
    ) -> list[Manifest]:
        sealed = versions.result()
        return self._transactions.commit(sealed, member, within_seconds) if sealed else []

    def _put_up_with(self, error: HeadraceError, then: str) -> None:
        self._aborts += 1
        self._report.aborted()
        _LOG.warning("%s; %s", error, then, extra={"action": "abort"})
        # The next try waits, twice as long each time: a passing trouble has some ten seconds to pass.
        self.not_before = self._clock() + min(_LONGEST_PAUSE_SECONDS, _PAUSE_SECONDS * 2**self._aborts)
        if self._aborts >= _MOST_ABORTS:
            raise HeadraceError(f"{self._aborts} transactions in a row were aborted, the last because: {error}")
