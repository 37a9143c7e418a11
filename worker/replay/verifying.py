"""Proof that a published model is the one learned from its events: versions are learned again, and compared.

Shards that are merged know of one another, so all of them are learned again, each with what the others have added *as
learned again*. A version that differs is where its shard ends: what it would add is not what was published, so of those
that fold it in nothing more can be said. The first version that differs is told, and what of it.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from worker.errors import ConfigurationError, IncompatibleDataError
from worker.pipeline import Observer
from worker.replay.beginning import Beginning, begin
from worker.replay.chain import Chain
from worker.replay.course import Leg, Noting
from worker.replay.engine import Engine
from worker.replay.exchange import Alone, AsPublished
from worker.replay.recorded import Difference, MissingEventsError, Recorded
from worker.replay.source import Source, require_events, require_shards
from worker.snapshot.boundary import Boundary
from worker.snapshot.manifest import Manifest
from worker.snapshot.state import ShardState

_TOLD = 8  # shards in a message


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
        short: whether later versions were asked for than the shard has, though others have them.
    """

    shard: int
    begun: int
    first: int = 0
    last: int = 0
    events: int = 0
    difference: Difference | None = None
    waits: str | None = None
    short: bool = False

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
        taken: those that are not learned again, though shards are merged: what they have added is taken as published.
        first: the first version to compare; None is as far back as can be.
        last: the last one; None is the last that is published.
        threads: how many work.
        batch_events: that are learned at once: it changes no bit.
        progress: called with the number of records that were learned since the last call.
        observer: gives who looks at what a shard learns.
        rejections: gives who hears of what of a shard is rejected.
    """

    source: Source
    chain: Chain
    shards: Collection[int] | None = None
    taken: Collection[int] = ()
    first: int | None = None
    last: int | None = None
    threads: int = 1
    batch_events: int = 10_000
    progress: Callable[[int], None] = lambda _records: None
    observer: Callable[[int], Observer | None] = lambda _shard: None
    rejections: Callable[[int], Noting] = lambda _shard: lambda _records, _rejected: None
    states: dict[int, ShardState] = field(default_factory=dict)
    verdicts: dict[int, Verdict] = field(default_factory=dict)
    counted_before: tuple[Counter[str], Counter[str]] = field(default_factory=lambda: (Counter(), Counter()))

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
        self._require_versions(goals, begun)
        self._require_events(goals, begun)
        merged = self.chain.config.model.merge
        if not merged:
            begun = {shard: it for shard, it in begun.items() if shard in asked}
        known = {shard: it.known for shard, it in begun.items()}
        versions = {shard: it.state.version for shard, it in begun.items()}
        taken = {shard: self.chain.last[shard].version for shard in self.taken if shard in self.chain.last}
        published = AsPublished(known, versions, self.chain.added, taken, self.chain.adding)
        courses = {shard: self._course(shard, it, goals) for shard, it in begun.items()}
        self.verdicts = {shard: Verdict(shard=shard, begun=version) for shard, version in versions.items()}
        self.states = {shard: it.state for shard, it in begun.items()}
        self.counted_before = counted(self.states.values())
        before = {shard: state.progress.events for shard, state in self.states.items()}
        engine = Engine(
            list(courses.values()), published if merged else Alone(), threads=self.threads, progress=self.progress,
            enough=lambda: all(self._reached(shard, goal) for shard, goal in goals.items()),
        )  # fmt: skip
        waiting = engine.run()
        for shard, state in self.states.items():
            self.verdicts[shard].events = state.progress.events - before[shard]
        for shard, goal in goals.items():
            self.verdicts[shard].short = self.last is not None and goal < self.last
            if goal == versions[shard]:
                self.verdicts[shard].waits = f"there is no version after {goal}, with which the replay begins"
            elif not self._reached(shard, goal):
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
        for shard in (
            sorted(set(range(self.chain.shards)) - asked - set(self.taken)) if self.chain.config.model.merge else ()
        ):
            known = min((it.known.get(shard, 0) for it in found.values()), default=0)
            beginning = begin(self.chain, self.source, shard, known if self.first is not None else None)
            if beginning is not None:
                found[shard] = beginning
        return found

    def _goals(self, shards: set[int]) -> dict[int, int]:
        """Find the last version of each shard that is compared; refuse bounds that lie beyond all there is.

        Shards have as many versions as they had commits, so an end that some have and others have not is none.
        """
        last = {shard: self.chain.last[shard].version for shard in sorted(shards)}
        beyond = [
            version
            for version in (self.first, self.last)
            if version is not None and version > max(last.values(), default=0)
        ]
        if last and beyond:
            there = ", ".join(f"{version} of shard {shard}" for shard, version in list(last.items())[:_TOLD])
            more = f" and {len(last) - _TOLD} more" if len(last) > _TOLD else ""
            raise ConfigurationError(
                f"there is no version {beyond[0]}: the last ones in {self.chain.topic} are {there}{more}. Name a "
                "version up to these"
            )
        for shard, version in last.items():
            if self.first is not None and self.first > version:
                raise ConfigurationError(
                    f"shard {shard} has versions up to {version} in {self.chain.topic}, not {self.first}: name an "
                    "earlier one, or the shards that have it"
                )
        return {shard: version if self.last is None else min(self.last, version) for shard, version in last.items()}

    def _require_versions(self, goals: Mapping[int, int], begun: Mapping[int, Beginning]) -> None:
        """Refuse versions from before the oldest base there is: nothing of them would be compared."""
        for shard, goal in goals.items():
            at = begun[shard].state.version
            asked = self.first if self.first is not None else goal if self.last is not None else at + 1
            if asked <= at:
                raise ConfigurationError(
                    f"version {asked} of shard {shard} cannot be learned again: what it was made of is trimmed, or was "
                    f"carried from other shards, or its events are not there. From version {at + 1} on it goes"
                )

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
        if beginning.manifest is not None:
            self.chain.note(beginning.manifest)
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
            rejections=self.rejections(shard),
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
        """Say what a shard waits for in vain: directly, or because another one does.

        Raises:
            MissingEventsError: for events that are not there.
        """
        version, passed, to_ask = self.states[shard].version + 1, set[int](), [shard]
        while to_ask:
            one = to_ask.pop(0)
            passed.add(one)
            difference = self.verdicts[one].difference
            if difference is not None:
                return (
                    f"version {version} folds in what comes after version {difference.version} of shard {one}, which "
                    "differs"
                )
            lacks = courses[one].lacks
            if lacks is not None:
                raise lacks
            leg = waiting.get(one)
            lacked = published.lacked(one, leg.mark) if leg is not None and leg.mark is not None else {}
            to_ask += sorted(lacked.keys() & courses.keys() - passed)
        return f"version {version} is gone from {self.chain.topic}, or folds in one that is"


def counted(states: Iterable[ShardState]) -> tuple[Counter[str], Counter[str]]:
    """Add up what shards have rejected and skipped so far, by the reason."""
    rejected, skipped = Counter[str](), Counter[str]()
    for state in states:
        rejected.update(state.rejected)
        skipped.update({str(reason): count for reason, count in state.skipped.items()})
    return rejected, skipped


def require_equal(verdicts: Collection[Verdict]) -> None:
    """Refuse a model that is not the one learned from its events, and one of which that is not shown.

    Raises:
        IncompatibleDataError: it names the versions that differ, and how; or what was not compared.
    """
    differences = [verdict.difference for verdict in verdicts if verdict.difference is not None]
    if differences:
        raise IncompatibleDataError(
            "learned again from these events, the model is another one:\n  "
            + "\n  ".join(map(str, differences))
            + "\nthe events are not those that it was learned from, or the model was changed"
        )
    waiting = [f"shard {verdict.shard}: {verdict.waits}" for verdict in verdicts if verdict.waits is not None]
    if waiting:
        raise IncompatibleDataError("not all versions were learned again:\n  " + "\n  ".join(waiting))
