"""What is to be recorded: what was asked for, what the topic has of it, and what is recorded already, made one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pyarrow import fs

from worker.errors import ConfigurationError, IncompatibleDataError
from worker.recording.checks import check_order
from worker.recording.finding import find
from worker.recording.layout import topic_folder
from worker.recording.places import Place, kind_of, require_bucket
from worker.recording.plan import NAME, Asked, Plan, read_plan
from worker.recording.segment import Segment
from worker.recording.times import as_text
from worker.recording.writing import Limits
from worker.stream.span import Bounds, Span

_NAMED: Final = 3  # partitions, in a message


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What is recorded next."""

    plan: Plan
    at: dict[int, int]  # partition -> the first offset that is not recorded yet
    count: dict[int, int]  # partition -> records that are recorded already
    warnings: list[str] = field(default_factory=list)

    @property
    def left(self) -> int:
        """How many offsets there are to read, of partitions that have an end."""
        return sum(max(0, stop - self.at[number]) for number, (_, stop) in self.plan.ranges.items() if stop is not None)


@dataclass(frozen=True, kw_only=True)
class Found:
    """What is recorded already. Where it is equal, so is what is recorded next."""

    plan: Plan | None
    stops: Mapping[int, int]  # partition -> the offset after the last that is recorded
    count: dict[int, int]  # partition -> records


def look(where: Place, topic: str) -> Found:
    """Look at what is recorded already.

    Raises:
        ConfigurationError: it may not be looked at, or something else is in its place.
        IncompatibleDataError: it is damaged.
    """
    require_bucket(where)
    if kind_of(where, where.path) is fs.FileType.File:
        raise ConfigurationError(f"{where.text}: is a file, and a recording is a folder: name another place")
    plan, files = read_plan(where, topic), recorded(where, topic)
    return Found(
        plan=plan,
        stops={number: segments[-1].stop for number, segments in files.items()},
        count={number: sum(segment.count for segment in segments) for number, segments in files.items()},
    )


def prepare(span: Span, where: Place, found: Found, asked: Asked, *, follow: bool, limits: Limits | None) -> Prepared:
    """Decide what to record of a topic, beside what was found; nothing is written.

    Raises:
        ConfigurationError: there are no such records, or they do not go on where the recording ends.
        IncompatibleDataError: what should come next is gone.
    """
    before = found.plan
    if before is None:
        if found.stops:
            raise ConfigurationError(
                f"{where.text}: there are files of topic {span.topic} already, and no {NAME} that says how to go on: "
                "record into another folder"
            )
        return _begin(span, asked, follow=follow, limits=limits or Limits())
    if before.topic_id != span.topic_id:
        raise ConfigurationError(
            f"{where.text}: is a recording of a topic {span.topic} that was deleted since, and made anew: record into "
            "another folder"
        )
    at = {number: first for number, (first, _) in before.ranges.items()}
    at |= found.stops
    plan = _go_on(span, where, before, at, asked, follow=follow, limits=limits)
    prepared = Prepared(
        plan=plan, at={number: at.get(number, plan.ranges[number][0]) for number in plan.ranges}, count=found.count
    )
    _check_there(span, prepared)
    return prepared


def _begin(span: Span, asked: Asked, *, follow: bool, limits: Limits) -> Prepared:
    bounds = span.bounds(span.chosen(asked.partitions))
    ranges = span.ranges(asked, bounds)
    if all(first == stop for first, stop in ranges.values()) and not follow:
        raise span.nothing(asked, bounds, "record")
    plan = Plan(
        topic=span.topic, topic_id=span.topic_id, partitions=span.partitions, asked=asked, limits=limits,
        ranges={number: (first, None if follow else stop) for number, (first, stop) in ranges.items()},
    )  # fmt: skip
    return Prepared(
        plan=plan, at={number: first for number, (first, _) in ranges.items()}, count={},
        warnings=_warnings(span, asked, bounds, ranges),
    )  # fmt: skip


def _go_on(
    span: Span, where: Place, before: Plan, at: Mapping[int, int], asked: Asked, *, follow: bool, limits: Limits | None
) -> Plan:
    if limits is not None and limits != before.limits:
        raise ConfigurationError(
            f"{where.text}: its files end after {before.limits.records:,} records: leave out --file-records, or record "
            "into another folder"
        )
    unfinished = [number for number, (_, stop) in before.ranges.items() if stop is not None and at[number] < stop]
    if unfinished:
        if asked != before.asked or follow:
            raise ConfigurationError(
                f"{where.text}: a run that was interrupted is to be finished first: run it again with {before.asked}, "
                "or record into another folder"
            )
        return before
    if (asked.partitions, asked.from_offset, asked.from_timestamp) != (
        before.asked.partitions, before.asked.from_offset, before.asked.from_timestamp,
    ) and (asked.has_start or asked.partitions != before.asked.partitions):  # fmt: skip
        raise ConfigurationError(
            f"{where.text}: holds what was recorded with {before.asked}: a recording goes on with the same partitions "
            "and the same beginning. Record into another folder"
        )
    if asked == before.asked and asked.to_offset is not None and span.partitions == before.partitions:
        return before  # it is all there, whatever retention has deleted since
    bounds = span.bounds(span.chosen(asked.partitions))
    _check_not_less(span, where, at, asked, bounds)
    ranges: dict[int, tuple[int, int | None]] = {}
    # The topic has more partitions by now.
    fresh = {number: bound for number, bound in bounds.items() if number not in before.ranges}
    started = span.ranges(asked, fresh) if fresh else {}
    stops = span.stops(asked, bounds)
    for number in bounds:
        first = before.ranges[number][0] if number in before.ranges else started[number][0]
        ranges[number] = (first, None if follow else max(at.get(number, first), stops[number]))
    return before.with_ranges(ranges, asked, span.partitions)


def _check_not_less(span: Span, where: Place, at: Mapping[int, int], asked: Asked, bounds: Bounds) -> None:
    """Refuse an end before the one of what is recorded: neither is that cut, nor is what was asked for made."""
    if asked.to_offset is not None:  # before it is held against the topic, which may have lost what is recorded
        stops = dict.fromkeys(at, asked.to_offset)
        said = f"--to-offset {asked.to_offset}"
    elif asked.to_timestamp is not None:
        stops = span.stops(asked, bounds)
        said = f"--to-timestamp {as_text(asked.to_timestamp)}"
    else:
        return
    more = [number for number in bounds if number in at and stops[number] < at[number]]
    if more:
        held = ", ".join(f"before {at[number]}, not {stops[number]}, of partition {number}" for number in more[:_NAMED])
        held += f", and likewise of {len(more) - _NAMED} more" if len(more) > _NAMED else ""
        raise ConfigurationError(
            f"{where.text}: holds more offsets than {said} asks for: {held}. What is recorded is not cut: record into "
            "another folder, or go on here with a later end, or with none"
        )


def _check_there(span: Span, prepared: Prepared) -> None:
    """Make sure that what comes next is still in the topic."""
    bounds = span.bounds(prepared.plan.ranges)
    for number, (low, _) in bounds.items():
        at, stop = prepared.at[number], prepared.plan.ranges[number][1]
        if at < low and (stop is None or at < stop):
            raise IncompatibleDataError(
                f"{span.topic} [{number}]: is recorded up to offset {at - 1}, and retention has deleted all before "
                f"{low}: a recording has no holes. Record what is left into another folder"
            )


def _warnings(span: Span, asked: Asked, bounds: Bounds, ranges: Bounds) -> list[str]:
    """Tell where retention has taken what was asked for."""
    if asked.from_timestamp is None:
        return []
    cut = {number: bounds[number] for number, (first, _) in ranges.items() if 0 < first == bounds[number][0]}
    times = span.times(cut) if cut else None
    if times is None or times[0] <= asked.from_timestamp:
        return []
    numbers, first, wanted = ", ".join(map(str, cut)), as_text(times[0]), as_text(asked.from_timestamp)
    return [f"partition {numbers}: what lay before {first} was deleted by retention, and {wanted} was asked for"]


def recorded(where: Place, topic: str) -> dict[int, list[Segment]]:
    """Give what is recorded already, each partition in its order, without holes.

    Raises:
        ConfigurationError: it may not be looked at, or something else is in its place.
        DamagedRecordingError: a file is damaged, missing, or there twice.
    """
    folder = Place(text=where.text, files=where.files, path=where.below(topic_folder(topic)))
    kind = kind_of(where, folder.path)
    if kind is fs.FileType.NotFound:
        return {}
    if kind is fs.FileType.File:
        raise ConfigurationError(
            f"{folder.path}: is a file, and files of topic {topic} go into a folder of that name: record into another "
            "folder"
        )
    parts: dict[int, list[Segment]] = {}
    for segment in sorted(find(folder, topic), key=lambda one: (one.partition, one.first, one.stop)):
        parts.setdefault(segment.partition, []).append(segment)
    for segments in parts.values():
        check_order(segments, strict=True)
    return parts
