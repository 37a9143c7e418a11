"""follow -> score: the model of all shards, kept up to date by a thread, and predictions from it."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
from prometheus_client import Counter

from worker.config import Kafka
from worker.errors import (
    BrokerUnreachableError,
    HeadraceError,
    IncompatibleDataError,
)
from worker.follow.explanation import Explanation
from worker.follow.scoring import Scorable, Scorer, Scores
from worker.follow.served import Served, served_of, way_to_serve
from worker.follow.shard import FollowedShard
from worker.follow.whole import Whole
from worker.learning import Learning
from worker.observe.metrics import FollowerMetrics
from worker.quality.progress import Progress
from worker.snapshot.manifest import Manifest, learning_of
from worker.stream.client import reader_settings
from worker.stream.feed import Feed
from worker.stream.tail import Tail, TrimmedError

_LOG = logging.getLogger(__name__)
_POLL_SECONDS = 0.1
_LOOK_AGAIN_SECONDS = 1.0  # for shards without a first version


class Follower:
    """Holds a live copy of a model, read from its model topic; everything it needs to know stands there.

    Args:
        kafka: how to reach Kafka, or just the bootstrap servers.
        topic: the model topic.
        metrics: where to tell what is served, if anywhere.
        on_version: called with the manifest of each version once it is served, on the follower's thread.
        clock: seconds since 1970, against which ages are told.

    Use it as a context, or call `start` and `close`:

        with Follower("localhost:9092", "interactions.model") as follower:
            scores = follower.score([{"user": "u1", "item": "i7"}])

    Raises from `start`:
        BrokerUnreachableError: no broker answers.
        IncompatibleDataError: there is no such topic, or no model in it yet, or one of a later format.
    """

    def __init__(
        self,
        kafka: Kafka | str,
        topic: str,
        *,
        metrics: FollowerMetrics | None = None,
        on_version: Callable[[Manifest], None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.kafka = Kafka(bootstrap_servers=kafka) if isinstance(kafka, str) else kafka
        self.topic = topic
        self.learning: Learning | None = None
        self._metrics, self._on_version, self._clock = metrics, on_version, clock
        self._settings: dict[str, Any] = reader_settings(self.kafka)
        self._shards: dict[int, FollowedShard] = {}
        self._stopped = threading.Event()
        self._failure: HeadraceError | None = None
        self._turned = threading.Condition()
        self._taken: dict[int, int] = {}  # by shard: all committed before this offset is applied, or refused
        self._thread = threading.Thread(target=self._follow, name="follower", daemon=True)
        self._feed: Feed | None = None
        self._scorer: Scorer | None = None
        self._told: dict[tuple[Counter, int], int] = {}

    def start(self, wait_seconds: float = 30.0) -> None:
        """Read the model as it is published now, then go on following it; waits that long for a first version."""
        self._feed = Feed(self._settings, self.topic)
        partitions = self._feed.partitions()
        first = self._first_manifest(partitions, wait_seconds)
        self.learning = learning_of(first)
        whole = Whole(self.learning)
        self._shards = {shard: FollowedShard(first.model, shard, self.learning, whole) for shard in range(partitions)}
        self._scorer = Scorer(self.learning, self._shards)
        for shard in self._shards:
            self._resync(shard)
        self._thread.start()
        self.catch_up(wait_seconds)

    def close(self) -> None:
        """Stop following."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._feed is not None:
            self._feed.close()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def catch_up(self, wait_seconds: float = 30.0) -> None:
        """Wait until all that is committed now has been read.

        Raises:
            HeadraceError: following has failed, or took longer than that.
        """
        feed = self._feed
        if feed is None:
            raise IncompatibleDataError("the follower is not started: use it as a context, or call start()")
        ends = {shard: feed.end(shard) for shard in self._shards}

        def read() -> bool:
            return self._failure is not None or all(self._taken.get(shard, -1) >= end for shard, end in ends.items())

        with self._turned:
            done = self._turned.wait_for(read, wait_seconds)
        self.require_following()
        if not done:
            raise BrokerUnreachableError(f"{self.topic} was not read to its end within {wait_seconds:g} s")

    def require_following(self) -> None:
        """Raise what following has failed of, if it has."""
        if self._failure is not None:
            raise self._failure

    def served(self) -> list[Served]:
        """Tell which versions are served, and how old they are."""
        now = self._clock()
        return [served_of(number, shard, now) for number, shard in self._shards.items()]

    @property
    def held_back(self) -> dict[int, tuple[str, ...]]:
        """The shards of which a newer version than the one served was read that is not servable, and why it is not."""
        return {served.shard: served.reasons for served in self.served() if served.held_back}

    def progress(self) -> Progress:
        """Give how well the workers predicted, before they learned: the sums over all shards as they are served."""
        parts = [shard.progress() for shard in self._shards.values()]
        return sum(parts[1:], start=parts[0])

    def score(
        self,
        events: Scorable,
        *,
        explore: Literal["thompson"] | None = None,
        seed: int | None = None,
    ) -> Scores:
        """Score events, as mappings, as JSON or as an Arrow table; each by the shard of its partition key.

        A value never seen counts with its prior; where its feature has `admit_after`, as a rare value. An event that
        cannot be read gets NaN and stands in `rejected`.

        Args:
            events: what to score; one decision is one call.
            explore: "thompson" draws each logit with its mean and variance, events that share a row or a pair by the
                same draw of it (`worker.model.sampling`): whoever ranks by `probability` tries each candidate about as
                often as it is likely to be the best. `mean` and `variance` are those without drawing.
            seed: from 0 to 2^63 - 1, of the draw: the same one and the same versions give the same bits. A fresh one
                without; `Scores.seed` tells it.

        Raises:
            ConfigurationError: this kind of model cannot explore.
            HeadraceError: following has failed, or the follower is not started.
            IncompatibleDataError: a column of the table is of a type that its use does not allow.
            ValueError: there is no such exploration or seed.
        """
        scores = self._scoring().score(events, explore, seed)
        if self._metrics is not None:
            self._metrics.scored.inc(int(np.count_nonzero(scores.shard >= 0)))
        return scores

    def explain(self, event: Mapping[str, Any] | bytes) -> Explanation:
        """Tell why an event is scored as it is: what each field and pair adds to its logit, and the rows behind that.

        Raises:
            RejectedEventError: the event cannot be read.
            HeadraceError: following has failed, or the follower is not started.
        """
        return self._scoring().explain(event)

    def _scoring(self) -> Scorer:
        self.require_following()
        if self._scorer is None:
            raise IncompatibleDataError("the follower is not started: use it as a context, or call start()")
        return self._scorer

    def _first_manifest(self, partitions: int, wait_seconds: float) -> Manifest:
        """Wait for a version of any shard: it says how the model is learned."""
        deadline = time.monotonic() + wait_seconds
        while True:
            for shard in range(partitions):
                with Tail(self._settings, self.topic, shard) as tail:
                    found = tail.last_manifest(readable=True)
                if found is not None:
                    return found[0]
            if time.monotonic() > deadline:
                raise IncompatibleDataError(
                    f"{self.topic} holds no committed version yet: start a worker (`headrace run`), "
                    "or is this the wrong topic?"
                )
            self._stopped.wait(_LOOK_AGAIN_SECONDS)

    def _resync(self, shard: int) -> None:
        """Read a shard from its newest base before what may be served, or from the first record where there is none."""
        if self._feed is None:
            return
        with Tail(self._settings, self.topic, shard) as tail:
            found = tail.last_manifest(readable=True)  # one that is damaged is met on the way, and told
            offset = way_to_serve(found[0]).offset if found is not None else tail.bounds()[0]
        self._feed.start(shard, offset)

    def _follow(self) -> None:
        try:
            while not self._stopped.is_set():
                self._turn()
        except HeadraceError as error:
            _LOG.error("following has failed: %s", error, extra={"action": "follow_failed"})
            with self._turned:
                self._failure = error
                self._turned.notify_all()

    def _turn(self) -> None:
        """Take what has come, and tell."""
        feed = self._feed
        if feed is None:
            return
        messages = feed.poll(_POLL_SECONDS)
        moved: set[int] = set()  # shards that read from elsewhere now: what is left of this poll is old
        for message in messages:
            shard = message.partition()
            if shard not in moved:
                before = self._shards[shard].manifest
                resync = self._shards[shard].take(message)
                now = self._shards[shard].manifest
                if self._on_version is not None and now is not None and now is not before:
                    self._on_version(now)
                if resync is not None:
                    feed.start(shard, resync.offset)
                    moved.add(shard)
        for shard in list(feed.trimmed):
            self._reread(shard)
        self._tell()
        with self._turned:
            self._taken = {shard: at for shard, at in feed.read_to.items() if shard not in feed.trimmed}
            self._turned.notify_all()

    def _reread(self, shard: int) -> None:
        """Begin a shard anew whose next record was trimmed; where that does not succeed, the next turn tries again."""
        _LOG.info("shard %d was trimmed meanwhile, reading anew", shard, extra={"action": "resync", "shard": shard})
        try:
            self._resync(shard)
        except (BrokerUnreachableError, TrimmedError) as error:
            _LOG.warning("shard %d: %s", shard, error, extra={"action": "resync", "shard": shard})
        else:
            self._shards[shard].resyncs += 1
            self._shards[shard].restart()

    def _tell(self) -> None:
        if self._metrics is None:
            return
        for served in self.served():
            if served.version:
                self._metrics.version.labels(str(served.shard)).set(served.version)
                self._metrics.version_age_seconds.labels(str(served.shard)).set(served.age_seconds)
            self._metrics.held_back.labels(str(served.shard)).set(served.held_back)
        for number, shard in self._shards.items():
            for counter, count in (
                (self._metrics.gaps, shard.gaps),
                (self._metrics.corruptions, shard.corruptions),
                (self._metrics.resyncs, shard.resyncs),
            ):
                counter.labels(str(number)).inc(count - self._told.get((counter, number), 0))
                self._told[counter, number] = count
