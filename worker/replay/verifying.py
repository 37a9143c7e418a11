"""Proof that a published model is the one learned from its events: versions are learned again, and compared.

Shards that are merged know of one another, so all of them are learned again, each with what the others have added *as
learned again*. A version that differs is where its shard ends: what it would add is not what was published, so of those
that fold it in nothing more can be said. The first version that differs is told, and what of it.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from worker.errors import ConfigurationError, IncompatibleDataError
from worker.pipeline import Observer
from worker.replay.beginning import Beginning, begin
from worker.replay.chain import Chain
from worker.replay.course import Leg
from worker.replay.engine import Engine
from worker.replay.exchange import Alone, AsPublished
from worker.replay.recorded import Difference, MissingEventsError, Recorded
from worker.replay.source import Source, require_events, require_shards
from worker.snapshot.boundary import Boundary
from worker.snapshot.manifest import Manifest
from worker.snapshot.state import ShardState


@dataclass(kw_only=True)
class Verdict:
    """What was found of a shard.

    Attributes:
        shard: which.
        begun: the version that it was restored at; 0 where it was learned from nothing.
        first: the first version that was compared and is equal; 0 where there is none.
        last: the last one.
        events: learned again.
        difference: the first version that differs, and how; None where none does.
        waits: why it was not compared further, though it does not differ; None where it was.
    """

    shard: int
    begun: int
    first: int = 0
    last: int = 0
    events: int = 0
    difference: Difference | None = None
    waits: str | None = None

    @property
    def sound(self) -> bool:
        """Tell whether all that was asked for is equal."""
        return self.difference is None and self.waits is None


@dataclass(kw_only=True)
class Again:
    """A published model, learned again.

    Args:
        source: the events.
        chain: what was published.
        shards: those that are asked for; None is all.
        first: the first version to compare; None is as far back as can be.
        last: the last one; None is the last that is published.
        threads: how many work.
        batch_events: that are learned at once: it changes no bit.
        progress: called with the number of records that were learned since the last call.
        observer: gives who looks at what a shard learns.
    """

    source: Source
    chain: Chain
    shards: Collection[int] | None = None
    first: int | None = None
    last: int | None = None
    threads: int = 1
    batch_events: int = 10_000
    progress: Callable[[int], None] = lambda _records: None
    observer: Callable[[int], Observer | None] = lambda _shard: None
    states: dict[int, ShardState] = field(default_factory=dict)
    verdicts: dict[int, Verdict] = field(default_factory=dict)

    def run(self) -> list[Verdict]:
        """Learn and compare; gives a verdict for each shard that is asked for and has versions.

        Raises:
            ConfigurationError: there is no such shard or version.
            MissingEventsError: the events do not reach as far as the versions do; it names the range.
            IncompatibleDataError: the events are of another number of partitions, or there are none.
            CorruptSnapshotError: a record of the model is not what its writer sent.
        """
        require_shards(self.source, self.chain.shards, self.chain.model)
        require_events(self.source)
        asked = self._asked()
        begun = self._begin(asked)
        goals = self._goals(asked & begun.keys())
        self._require_events(goals, begun)
        merged = self.chain.config.model.merge
        if not merged:
            begun = {shard: it for shard, it in begun.items() if shard in asked}
        known = {shard: it.known for shard, it in begun.items()}
        versions = {shard: it.state.version for shard, it in begun.items()}
        published = AsPublished(known, versions, self.chain.added)
        courses = {shard: self._course(shard, it, goals) for shard, it in begun.items()}
        self.verdicts = {shard: Verdict(shard=shard, begun=version) for shard, version in versions.items()}
        self.states = {shard: it.state for shard, it in begun.items()}
        before = {shard: state.progress.events for shard, state in self.states.items()}
        engine = Engine(
            list(courses.values()), published if merged else Alone(), threads=self.threads, progress=self.progress,
            enough=lambda: all(self._reached(shard, goal) for shard, goal in goals.items()),
        )  # fmt: skip
        waiting = {leg.mark.position: leg for leg in engine.run() if leg.mark is not None}
        for shard, state in self.states.items():
            self.verdicts[shard].events = state.progress.events - before[shard]
        for shard, goal in goals.items():
            if not self._reached(shard, goal):
                self.verdicts[shard].waits = self._why(shard, courses, waiting, published)
        return [self.verdicts[shard] for shard in sorted(goals)]

    def _asked(self) -> set[int]:
        asked = set(range(self.chain.shards)) if self.shards is None else set(self.shards)
        wrong = sorted(asked - set(range(self.chain.shards)))
        if wrong:
            raise ConfigurationError(
                f"{self.chain.topic} has the shards 0 to {self.chain.shards - 1}, not {wrong[0]} (--shard)"
            )
        return asked

    def _begin(self, asked: set[int]) -> dict[int, Beginning]:
        """Find where each shard begins: the others early enough to add themselves all that those asked for fold in."""
        found: dict[int, Beginning] = {}
        for shard in sorted(asked):
            before = None if self.first is None else self.first - 1
            beginning = begin(self.chain, self.source, shard, before)
            if beginning is not None:
                found[shard] = beginning
        for shard in sorted(set(range(self.chain.shards)) - asked) if self.chain.config.model.merge else ():
            known = min((it.known.get(shard, 0) for it in found.values()), default=0)
            beginning = begin(self.chain, self.source, shard, known if self.first is not None else None)
            if beginning is not None:
                found[shard] = beginning
        return found

    def _goals(self, shards: set[int]) -> dict[int, int]:
        goals = {}
        for shard in shards:
            last = self.chain.last[shard].version
            goals[shard] = last if self.last is None else min(self.last, last)
            if (self.last or 0) > last and self.shards is not None or (self.first or 0) > last:
                raise ConfigurationError(
                    f"shard {shard} has versions up to {last} in {self.chain.topic}, not {max(self.first or 0, self.last or 0)}"
                )
        return goals

    def _require_events(self, goals: Mapping[int, int], begun: Mapping[int, Beginning]) -> None:
        """Refuse at once where the events end before the last version that is asked for."""
        for shard, goal in goals.items():
            last = self.chain.last[shard]
            first, after = self.source.ranges.get(shard, (0, 0))
            at, stop = begun[shard].state.next_offset, last.input.next_offset
            if goal == last.version and at < stop and not first <= at <= stop <= after:
                begin_, end = (at, min(first, stop)) if at < first else (max(at, after), stop)
                raise MissingEventsError(
                    f"version {goal} of shard {shard} was learned from the events before offset {stop} of "
                    f"{last.input.topic}, and of partition {shard} the recording lacks {begin_} to {end - 1}: record "
                    "that range too, or name an earlier version"
                )

    def _course(self, shard: int, beginning: Beginning, goals: Mapping[int, int]) -> Recorded:
        return Recorded(
            state=beginning.state,
            manifests=self.chain.after(shard, beginning.offset),
            source=self.source,
            batch_events=self.batch_events,
            upto=goals.get(shard),
            judge=self._judge,
            note=self.chain.note,
            observer=self.observer(shard),
            learned_by=beginning.manifest,
        )

    def _judge(self, manifest: Manifest, _: Boundary, difference: Difference | None) -> bool:
        verdict = self.verdicts[manifest.shard]
        if difference is not None:
            verdict.difference = difference
            return False
        if self.first is None or manifest.version >= self.first:
            verdict.first = verdict.first or manifest.version
            verdict.last = manifest.version
        return True

    def _reached(self, shard: int, goal: int) -> bool:
        return self.states[shard].version >= goal or self.verdicts[shard].difference is not None

    def _why(
        self, shard: int, courses: Mapping[int, Recorded], waiting: Mapping[int, Leg], published: AsPublished
    ) -> str:
        """Say what a shard waits for in vain."""
        course = courses[shard]
        if course.lacks is not None:
            raise course.lacks
        version = self.states[shard].version + 1
        leg = waiting.get(version)
        lacked = published.lacked(shard, leg.mark) if leg is not None and leg.mark is not None else {}
        for peer, wanted in sorted(lacked.items()):
            difference = self.verdicts[peer].difference if peer in self.verdicts else None
            if difference is not None:
                return (
                    f"version {version} folds in version {wanted} of shard {peer}, whose version {difference.version} "
                    "differs"
                )
            if peer in courses and (lacks := courses[peer].lacks) is not None:
                raise lacks
        return f"version {version} waits for what other shards add, which waits for a version that differs"


def verify(again: Again) -> list[Verdict]:
    """Learn versions again and compare them; see `Again`."""
    return again.run()


def require_equal(verdicts: Collection[Verdict]) -> None:
    """Refuse a model that is not the one learned from its events.

    Raises:
        IncompatibleDataError: it names the versions that differ, and how.
    """
    differences = [verdict.difference for verdict in verdicts if verdict.difference is not None]
    if differences:
        raise IncompatibleDataError(
            "learned again from these events, the model is another one:\n  "
            + "\n  ".join(map(str, differences))
            + "\nthe events are not those that it was learned from, or the model was changed"
        )
