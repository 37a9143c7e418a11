"""Whether files make one recording: all of one topic, none missing, none twice."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from worker.errors import ConfigurationError, DamagedRecordingError
from worker.recording.segment import Segment


def choose_topic(topics: Iterable[str], wanted: str | None, where: str, likely: str | None = None) -> str:
    """Choose the topic that is read.

    Args:
        topics: which there are.
        wanted: the one that was named, if any was.
        where: the recording, for messages.
        likely: the one to take where several are there and none was named.

    Raises:
        ConfigurationError: it is not there, or there are several and none was named.
    """
    found = sorted(set(topics))
    if wanted is None and len(found) == 1:
        return found[0]
    if wanted in found:
        return wanted
    if wanted is None and likely in found:
        return likely
    listed = ", ".join(found)
    if wanted is None:
        raise ConfigurationError(
            f"{where}: holds records of several topics, {listed}: name one of them, with --topic or in the settings"
        )
    raise ConfigurationError(f"{where}: there are no records of topic {wanted!r}; there are some of {listed}")


def choose_partitions(there: Iterable[int], wanted: Iterable[int] | None, where: str) -> list[int]:
    """Choose the partitions that are read.

    Raises:
        ConfigurationError: one of them is not there.
    """
    found = sorted(there)
    if wanted is None:
        return found
    chosen = sorted(set(wanted))
    missing = [number for number in chosen if number not in found]
    if missing or not chosen:
        raise ConfigurationError(
            f"{where}: has no partition {', '.join(map(str, missing)) or 'of an empty choice'}; "
            f"it has {', '.join(map(str, found))}"
        )
    return chosen


def check_order(segments: Sequence[Segment], *, strict: bool) -> list[str]:
    """Make sure that the segments of one partition, sorted by their first offset, follow one another.

    Between two files that say what they cover, an offset that is missing is a file that is missing. Files of others do
    not say: what is missing between them may as well be the gap that a transaction or compaction left, and is told.

    Args:
        segments: of one partition.
        strict: refuse what would be told.

    Returns:
        What may be missing, a line each.

    Raises:
        DamagedRecordingError: two files overlap, or one is missing.
    """
    told = []
    for before, after in pairwise(segments):
        if after.first < before.stop:
            raise DamagedRecordingError(
                f"{before.path} and {after.path} overlap: the one holds offsets {before.first} to {before.stop - 1}, "
                f"the other {after.first} to {after.stop - 1}. They are of two recordings, or of two lives of the "
                "topic: keep one of them"
            )
        if after.first > before.stop:
            missing = (
                f"offset {before.stop}" if after.first - before.stop == 1 else f"{before.stop} to {after.first - 1}"
            )
            message = (
                f"{before.topic} [{before.partition}]: offsets {missing} are missing between {before.path} "
                f"and {after.path}"
            )
            if before.known and after.known:
                raise DamagedRecordingError(
                    f"{message}: a file is gone. Copy it again from where it came, or read what lies after it as a "
                    "recording of its own"
                )
            if strict:
                raise DamagedRecordingError(f"{message}: a file is gone, or a transaction or compaction left a gap")
            told.append(f"{message}: by a transaction or compaction, or because a file is gone")
    return told


def check_ends(
    segments: Mapping[int, Sequence[Segment]],
    planned: Mapping[int, tuple[int, int | None]],
    where: str,
    *,
    strict: bool,
) -> list[str]:
    """Make sure that nothing is missing at the ends of partitions either, by what was to be recorded of them.

    Files are written in the order of their offsets. So a beginning that is missing is a file that is gone; an end may
    as well not have been written yet, and is told.

    Args:
        segments: of each partition that is read, sorted by their first offset.
        planned: partition -> the first offset that was to be recorded, and the one after the last: None is open.
        where: the recording, for messages.
        strict: refuse what would be told.

    Returns:
        What may be missing, a line for each partition.

    Raises:
        DamagedRecordingError: a file is missing.
    """
    told = []
    for number, (first, stop) in sorted(planned.items()):
        there = segments.get(number, ())
        if there and there[0].first > first:
            raise DamagedRecordingError(
                f"{where}: offsets {first} to {there[0].first - 1} of partition {number} were recorded, and are "
                f"missing before {there[0].path}: a file is gone. Copy it again from where it came, or read what lies "
                "after it as a recording of its own"
            )
        end = there[-1].stop if there else first
        if stop is not None and end < stop:
            message = f"{where}: offsets {end} to {stop - 1} of partition {number} were to be recorded, and are missing"
            if strict:
                raise DamagedRecordingError(f"{message}: a file is gone, or recording was interrupted")
            told.append(f"{message}: recording was interrupted, or a file is gone; the same `headrace record` goes on")
    return told
