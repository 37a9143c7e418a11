"""The job of `headrace load`: read, map, send."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import orjson

from worker.config import Config
from worker.errors import ConfigurationError
from worker.learning import Events
from worker.load.mapping import EventMapping, Mapper
from worker.load.reading import BadRowError, Rows, check_files, read
from worker.stream.packs import PACK_EVENTS
from worker.stream.sending import Sender, slice_events

SORTED_EVENTS = 2_000_000  # some 700 MB: what may be held in memory at once


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What was sent."""

    topic: str
    partitions: int
    files: int
    events: int  # acknowledged
    seconds: float
    events_per_second: float
    restamped: int = 0  # of a recording, records that had no timestamp: theirs is the moment of sending


def load(
    config: Config,
    paths: Sequence[Path],
    mapping: EventMapping,
    *,
    rate: float | None = None,
    sort_by: str | None = None,
    limit: int | None = None,
    pack_events: int = PACK_EVENTS,
    progress: Callable[[int], None] | None = None,
    monotonic: Callable[[], float] = time.monotonic,
) -> Summary:
    """Send the rows of files to the event topic, keyed by `events.partition_key`, in their order.

    Args:
        config: names the topic, and the fields of key, label and time.
        paths: the files, one after the other.
        mapping: how a row becomes an event.
        rate: events a second; None is as fast as it goes.
        sort_by: a field of the event; all files are then read into memory and sent in its order.
        limit: the most events that are sent.
        pack_events: the most of a message, where `events.format` packs them.
        progress: called with the number of events of each step.
        monotonic: the clock of the rate.

    Raises:
        ConfigurationError: a file, a column or the topic is not there.
        BadRowError: a row cannot be made into an event; what came before it has been sent.
        BrokerUnreachableError: see `Sender`.
    """
    start = monotonic()
    rows = events(config, paths, mapping, sort_by=sort_by)
    with Sender(config, rate=rate, pack_events=pack_events, progress=progress, monotonic=monotonic) as sender:
        try:
            for keys, values in _slices(islice(rows, limit), slice_events(rate)):
                sender.send(keys, values)
        except BadRowError as error:
            sender.flush()
            raise BadRowError(f"{error}. The {sender.delivered:,} events before it were sent") from error
    seconds = monotonic() - start
    return Summary(
        topic=sender.topic,
        partitions=sender.partitions,
        files=len(paths),
        events=sender.delivered,
        seconds=seconds,
        events_per_second=sender.delivered / seconds if seconds > 0 else 0.0,
    )


def events(
    config: Config, paths: Sequence[Path], mapping: EventMapping, *, sort_by: str | None = None
) -> Iterator[tuple[bytes, bytes]]:
    """Give the key and the JSON of each event; see `load`. The files are checked before the first one is given."""
    check_files(paths)
    found = chain.from_iterable(_of_file(config, path, mapping, sort_by) for path in paths)
    if sort_by is None:
        return ((key, value) for _, key, value in found)
    held = list(islice(found, SORTED_EVENTS + 1))
    if len(held) > SORTED_EVENTS:
        raise ConfigurationError(f"more than {SORTED_EVENTS:,} events are too many to sort in memory: sort the files")
    try:
        held.sort(key=lambda event: event[0])  # stable: events of the same time keep their order
    except TypeError as error:
        raise ConfigurationError(
            f"{sort_by!r} cannot be sorted by: {error}; give it a type, --type {sort_by}=…"
        ) from None
    return ((key, value) for _, key, value in held)


def _of_file(
    config: Config, path: Path, mapping: EventMapping, sort_by: str | None
) -> Iterator[tuple[Any, bytes, bytes]]:
    names = config.events
    mapper = Mapper(mapping, label=names.label, time=names.time, time_unit=names.time_unit)
    types = {mapping.sources.get(target, target): kind for target, kind in mapping.types.items()}
    checked = False
    for rows in read(path, types):
        if not checked:
            _check_columns(path, rows, mapping, names.partition_key, names.label)
            checked = True
        for number, row in zip(rows.numbers, rows.rows, strict=True):
            try:
                event = mapper.event(row)
                key, value = _encoded(event, names)
                order = None if sort_by is None else event[sort_by]
            except (ValueError, TypeError) as error:  # orjson's own is a TypeError: an integer of more than 64 bits
                raise BadRowError(f"{path}, {rows.where} {number}: {error}; mend the row or leave it out") from error
            except KeyError:
                raise BadRowError(f"{path}, {rows.where} {number}: it has no {sort_by!r} to sort by") from None
            yield order, key, value


def _encoded(event: dict[str, Any], names: Events) -> tuple[bytes, bytes]:
    key = _key(event, names.partition_key)
    if names.label not in event:
        raise ValueError(f"it has no {names.label!r} to learn from")
    value = orjson.dumps(event)
    if len(value) > names.max_bytes:
        raise ValueError(f"its {len(value):,} bytes are more than events.max_bytes = {names.max_bytes:,}")
    return key, value


def _key(event: dict[str, Any], name: str) -> bytes:
    value = event.get(name)
    if isinstance(value, str) and value:
        return value.encode()
    if isinstance(value, int) and not isinstance(value, bool):
        return b"%d" % value
    if value is None:
        raise ValueError(f"it has no {name!r}, which decides its partition")
    raise ValueError(f"{name!r} decides the partition, so it must be a text or an integer, not {value!r}; see --type")


def _check_columns(path: Path, rows: Rows, mapping: EventMapping, key: str, label: str) -> None:
    """Refuse a mapping that names a column which no row of the file's first batch has, or that leaves a field out."""
    columns = rows.columns
    unknown = [repr(column) for column in mapping.columns if column not in columns]
    fields = {target for column in columns for target in mapping.targets(column)}
    if mapping.label is not None:
        fields.add(label)
    if unknown:
        raise ConfigurationError(
            f"{path}: there is no column {', '.join(unknown)}; the columns are {', '.join(columns)}"
        )
    for field, way in ((key, f"--map {key}=COLUMN"), (label, f"--map {label}=COLUMN or --label 'COLUMN>=NUMBER'")):
        if field not in fields:
            raise ConfigurationError(
                f"{path}: no column becomes the event's {field!r}: use {way}; the columns are {', '.join(columns)}"
            )


def _slices(pairs: Iterable[tuple[bytes, bytes]], size: int) -> Iterator[tuple[list[bytes], list[bytes]]]:
    keys: list[bytes] = []
    values: list[bytes] = []
    try:
        for key, value in pairs:
            keys.append(key)
            values.append(value)
            if len(keys) == size:
                yield keys, values
                keys, values = [], []
    except BadRowError:
        if keys:  # what came before the bad row is sent
            yield keys, values
        raise
    if keys:
        yield keys, values
