"""A replay as recorded: every shard learns up to the offset that a manifest names, folds in what it says, and so on.

A manifest says how far events were learned, which ranges of them the poison breaker passed over, which versions of the
other shards were folded in, and by which settings all that was done: with the events, that is all a version depends on.
How events were polled, who was killed and how often, which parts of a base travelled when: none of it changes a bit.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import orjson

from worker.errors import IncompatibleDataError
from worker.learning import Learning
from worker.pipeline import Observer, Pipeline, Prepared
from worker.quality.watch import Watch
from worker.replay.course import Leg, Mark, Noting
from worker.replay.source import Cutter, Source
from worker.snapshot.boundary import Boundary
from worker.snapshot.kinds import watching_of
from worker.snapshot.manifest import Manifest, learning_of
from worker.snapshot.state import ShardState


class MissingEventsError(IncompatibleDataError):
    """The recording does not hold the events that a version was learned from."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What a version is not, when it is learned again."""

    shard: int
    version: int
    fields: dict[str, tuple[object, object]]  # of the manifest's state: as published, as replayed
    first_offset: int  # of the events between the version before and this one
    next_offset: int  # after them

    def __str__(self) -> str:
        said = ", ".join(
            f"{name} {_brief(was)} as published, {_brief(found)} as replayed"
            for name, (was, found) in self.fields.items()
        )
        return f"version {self.version} of shard {self.shard} ({self.events}): {said}"

    @property
    def events(self) -> str:
        """Say from which events the version was learned."""
        if self.next_offset == self.first_offset:
            return "without events of its own"
        return f"events {self.first_offset} to {self.next_offset - 1}"


class Recorded:
    """The course of a shard.

    Args:
        state: the shard, at the version before the first of the manifests.
        manifests: of the versions that follow, one after the other.
        source: where its events are.
        batch_events: that are learned at once: it changes no bit.
        upto: the last version; None is as far as manifests and events go.
        judge: called with every version, as published and as replayed, and the difference if there is one.
        note: called with every manifest before its version is learned.
        observer: looks at what is learned.
        learned_by: the manifest of the version before, where there is one.
        rejections: hears of what is rejected.
    """

    def __init__(
        self,
        *,
        state: ShardState,
        manifests: Iterator[Manifest],
        source: Source,
        batch_events: int,
        upto: int | None = None,
        judge: Callable[[Manifest, Boundary, Difference | None], bool] = lambda _was, _found, difference: (
            difference is None
        ),
        note: Callable[[Manifest], None] = lambda _manifest: None,
        observer: Observer | None = None,
        learned_by: Manifest | None = None,
        rejections: Noting = lambda _records, _rejected: None,
    ) -> None:
        self.state = state
        self.lacks: MissingEventsError | None = None  # why it ended before the last version
        self._manifests, self._source, self._batch_events, self._upto = manifests, source, batch_events, upto
        self._judge, self._note, self._observer = judge, note, observer
        self._rejections = rejections
        self._told: dict[int, tuple[Manifest, int]] = {}  # by version: its manifest, and the first of its events
        self._pipelines: dict[bytes, Pipeline] = {}
        self._watching = watching_of(learning_of(learned_by)).settings if learned_by is not None else None

    def legs(self) -> Iterator[Leg]:
        """Give what is learned, cut where versions end."""
        number, at, version = self.state.shard, self.state.next_offset, self.state.version
        first, after = self._source.ranges.get(number, (0, 0))
        cutter: Cutter | None = None
        for manifest in self._manifests:
            if manifest.version <= version:
                continue
            if self._upto is not None and manifest.version > self._upto:
                return
            stop = manifest.input.next_offset
            if stop > at and not first <= at <= stop <= after:
                self.lacks = MissingEventsError(self._missing(manifest, at, first, after))
                return
            self._note(manifest)
            self._told[manifest.version] = manifest, at
            pipeline, watch = self._pipeline(learning_of(manifest))
            if cutter is None and stop > at:
                cutter = Cutter(self._source.partition(number, at, after))
            for begin, end, passed_over in _parts(manifest, at):
                for records in cutter.before(end, pipeline.records(self._batch_events)) if cutter else ():
                    yield Leg(
                        records=records, pipeline=pipeline, next_offset=int(records.offsets[-1]) + 1,
                        first_offset=begin, passed_over=passed_over, watch=watch,
                    )  # fmt: skip
                    watch = None
            at = stop
            folded = {shard: peer.version for shard, peer in manifest.peers.items() if peer.version}
            yield Leg(
                records=None, pipeline=pipeline, next_offset=stop, watch=watch,
                mark=Mark(position=manifest.version, peers=folded),
            )  # fmt: skip

    def learn(self, leg: Leg, prepared: Prepared) -> None:
        """Learn them, or pass them over as the breaker did."""
        if leg.passed_over:
            leg.pipeline.pass_over(self.state, prepared, leg.first_offset, leg.next_offset)
        else:
            leg.pipeline.take(self.state, prepared, leg.next_offset)
        if leg.records is not None and prepared.rejected:
            self._rejections(leg.records, prepared.rejected)

    def sealed(self, mark: Mark, boundary: Boundary) -> bool:
        """Hold a version against its manifest."""
        manifest, first = self._told.pop(mark.position)
        fields = differing(manifest, boundary)
        difference = None
        if fields:
            difference = Difference(
                shard=manifest.shard, version=manifest.version, fields=fields, first_offset=first,
                next_offset=manifest.input.next_offset,
            )  # fmt: skip
        return self._judge(manifest, boundary, difference)

    def passed(self, mark: Mark) -> None:
        """Nothing follows from that here."""

    def _pipeline(self, learning: Learning) -> tuple[Pipeline, Watch | None]:
        """Give the pipeline of these settings; and where it is watched by others than before, a watch to begin with."""
        key = orjson.dumps(learning.model_dump(mode="json"))
        if key not in self._pipelines:
            self._pipelines.clear()  # settings that were changed do not come back often
            self._pipelines[key] = Pipeline(learning, self._observer)
        watching = watching_of(learning)
        before, self._watching = self._watching, watching.settings
        anew = before is not None and before != watching.settings
        return self._pipelines[key], Watch.fresh(watching) if anew else None

    def _missing(self, manifest: Manifest, at: int, first: int, after: int) -> str:
        stop = manifest.input.next_offset
        begin, end = (at, min(first, stop)) if at < first else (max(at, after), stop)
        there = f"it has {first} to {after - 1}" if first < after else "it has none of them"
        return (
            f"version {manifest.version} of shard {manifest.shard} was learned from offsets {at} to {stop - 1} of "
            f"{manifest.input.topic}, and of partition {manifest.shard} the recording lacks {begin} to {end - 1} "
            f"({there}): record that range too, or replay up to an earlier version"
        )


def differing(manifest: Manifest, boundary: Boundary) -> dict[str, tuple[object, object]]:
    """Name the fields of a version's state that are not as published, with both values."""
    was, found = manifest.state, boundary.told
    return {
        name: (getattr(was, name), getattr(found, name))
        for name in type(was).model_fields
        if name in was.model_fields_set and getattr(was, name) != getattr(found, name)
    }


def start_of(manifest: Manifest, source: Source) -> int | None:
    """Find the offset at which the shard of a first version began to learn; None where the version was not learned.

    Where it began depends on what the topic held then, and on `events.start`. A record is learned, rejected or skipped:
    so many of them lie before the offset that the first version names. Of packed events a record holds any number, so
    there the recording has to begin where the shard did.

    Raises:
        MissingEventsError: the source does not reach back so far.
    """
    number, stop = manifest.shard, manifest.input.next_offset
    first, after = source.ranges.get(number, (0, 0))
    if any(peer.version and not peer.offset for peer in manifest.peers.values()):
        return None  # carried from other shards: they were all written at once
    state = manifest.state
    count = state.events + sum(state.rejected.values()) + sum(state.skipped.values())
    if count > stop and learning_of(manifest).events.format == "json":
        return None
    if not count:
        return stop
    offsets = np.concatenate(
        [np.empty(0, np.int64), *(some.offsets for some in source.partition(number, first, min(stop, after)))]
        if first < min(stop, after)
        else [np.empty(0, np.int64)]
    )
    if learning_of(manifest).events.format == "arrow":
        return int(offsets[0]) if len(offsets) else stop
    if stop > after or len(offsets) < count:
        lacks = f"{after} to {stop - 1}" if stop > after else f"{count - len(offsets)} records before {first}"
        raise MissingEventsError(
            f"version {manifest.version} of shard {number} was learned from {count} records of {manifest.input.topic} "
            f"before offset {stop}, and of partition {number} the recording lacks {lacks}: record that range too"
        )
    return int(offsets[len(offsets) - count])


def _parts(manifest: Manifest, at: int) -> Iterator[tuple[int, int, bool]]:
    """Cut the offsets of a version's events where the breaker passed some over: begin, end, whether it did."""
    for first, last in manifest.passed_over:
        if at < first:
            yield at, first, False
        yield first, last + 1, True
        at = last + 1
    if at < manifest.input.next_offset:
        yield at, manifest.input.next_offset, False


def _brief(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "..."
