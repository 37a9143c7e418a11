"""A shard comes back: its last committed version, rebuilt and verified, and the offset to go on from.

Two things were committed in one transaction, the model records and the group's offset, and both must be seen before
either is trusted. A worker that died may have left a transaction half way through its commit: then the answer waits
for it (KIP-447), but the markers reach the two topics at different times. So the manifest at the tail has to name the
very offset that is committed; until it does, wait, and if it never does, say so and stop. Never guess.
"""

import logging
import threading
import time
from dataclasses import dataclass

from confluent_kafka import KafkaException

from worker.config import Config
from worker.errors import BrokerUnreachableError, CorruptSnapshotError, HeadraceError, IncompatibleDataError
from worker.snapshot.assembler import Assembler
from worker.snapshot.lineage import apply, require_same_learning, verify
from worker.snapshot.manifest import Manifest
from worker.snapshot.sealing import Folding
from worker.snapshot.state import ShardState
from worker.stream import merging
from worker.stream.client import reader_settings
from worker.stream.tail import Tail, TrimmedError

_LOG = logging.getLogger(__name__)
_AGAIN_SECONDS = 0.2
_REQUEST_SECONDS = 10.0
_SETTLE_SECONDS = 2.0  # of waiting for open transactions, before we look whether we are still wanted


class RestoreCancelledError(HeadraceError):
    """The shard moved on before it was restored."""


@dataclass(frozen=True, kw_only=True)
class Restored:
    """A shard ready to learn on."""

    state: ShardState
    backlog: list[Folding]  # what the other shards have added since: folded in at its next commit
    seconds: float


def restore(config: Config, shard: int, partitions: int, cancelled: threading.Event) -> Restored:
    """Rebuild a shard as it was last committed; a fresh one where nothing is.

    Raises:
        IncompatibleDataError: the offset and the model do not agree, or the model was learned with other settings.
        CorruptSnapshotError: a record of the model is not what its writer sent.
        BrokerUnreachableError: no answer in time.
        RestoreCancelledError: `cancelled` was set meanwhile.
    """
    began = time.monotonic()
    # A takeover may have to wait for the broker to abort the dead worker's transaction; then twice that is ample.
    deadline = began + 2 * config.kafka.transaction_timeout_seconds + _REQUEST_SECONDS
    with Tail(reader_settings(config.kafka), config.model.topic, shard) as tail:
        while True:
            if cancelled.is_set():
                raise RestoreCancelledError
            try:
                offset = tail.group_offset(config.events.topic, _SETTLE_SECONDS)
                found = tail.last_manifest()
                if _agree(config, shard, offset, found):
                    state = _rebuild(config, tail, shard, found[0]) if found else fresh(config, shard)
                    others = [other for other in range(partitions) if other != shard]
                    backlog = merging.recall(config, state, found[0] if found else None, others, tail.of)
                    break
                problem: HeadraceError = _disagreement(config, shard, offset, found)
            except CorruptSnapshotError as error:
                if not isinstance(error, TrimmedError):
                    raise _explained(error, shard) from error
                problem = error  # the owner before us trimmed while we read: look at the tail again
            except BrokerUnreachableError as error:
                problem = error  # a broker is being restarted, perhaps: look again
            except KafkaException as error:
                problem = BrokerUnreachableError(f"shard {shard}: {error.args[0].str()}")
            if time.monotonic() > deadline:
                raise problem
            cancelled.wait(_AGAIN_SECONDS)
    seconds = time.monotonic() - began
    _LOG.info(
        "shard %d: version %d, %d rows, next offset %d, in %.2f s",
        shard, state.version, len(state.model.table), state.next_offset, seconds,
        extra={"action": "restore", "shard": shard, "version": state.version},
    )  # fmt: skip
    return Restored(state=state, backlog=backlog, seconds=seconds)


def _agree(config: Config, shard: int, offset: int | None, found: tuple[Manifest, int] | None) -> bool:
    if found is None:
        return offset is None
    manifest = found[0]
    require_same_learning(manifest, config.learning, config.kafka.group)
    if manifest.shard != shard:
        return False
    if offset is None:
        # Offsets of a group that slept for a week expire (offsets.retention.minutes); the model does not.
        _LOG.warning(
            "shard %d: the group has no offset any more, going on from version %d at offset %d",
            shard, manifest.version, manifest.input.next_offset, extra={"action": "offset_expired", "shard": shard},
        )  # fmt: skip
        return True
    return manifest.input.next_offset == offset


def _disagreement(
    config: Config, shard: int, offset: int | None, found: tuple[Manifest, int] | None
) -> IncompatibleDataError:
    events, model, group = config.events.topic, config.model.topic, config.kafka.group
    if found is None:
        return IncompatibleDataError(
            f"shard {shard}: the group {group!r} has committed offset {offset} of {events}, but {model} holds no model "
            "of it: was the model topic deleted? To learn from the start, use a new group (`kafka.group`) or delete "
            f"this one's offsets: kafka-consumer-groups --delete-offsets --group {group} --topic {events}"
        )
    manifest = found[0]
    return IncompatibleDataError(
        f"shard {shard}: version {manifest.version} in {model} was learned up to offset {manifest.input.next_offset} "
        f"of {events}, but the group {group!r} has committed {offset}: were its offsets reset by hand? Events are not "
        f"learned twice. To go on with the model, delete the offsets (kafka-consumer-groups --delete-offsets --group "
        f"{group} --topic {events}); to learn again, use a new group and a new model topic"
    )


def _explained(error: CorruptSnapshotError, shard: int) -> CorruptSnapshotError:
    return CorruptSnapshotError(
        f"{error}. Shard {shard} cannot be restored, and a model that is not what was published is not gone on with. "
        "`headrace snapshot verify` tells what is whole; to learn again, give the model a new topic (`model.topic`) "
        "and the worker a new group (`kafka.group`)"
    )


def _rebuild(config: Config, tail: Tail, shard: int, manifest: Manifest) -> ShardState:
    state = ShardState.fresh(shard, config.learning)
    assembler = Assembler(config.model.name, shard)
    for record, offset in tail.records(manifest.bases[-1].offset):
        version = assembler.feed(record, offset)
        if version is not None:
            apply(state, version)
            if state.version == manifest.version:
                verify(state, manifest)
                return state
    raise TrimmedError(f"shard {shard}: version {manifest.version} is gone from {config.model.topic}")


def fresh(config: Config, shard: int) -> ShardState:
    """Give a shard without a model, where its events begin.

    Raises:
        BrokerUnreachableError: no answer in time.
    """
    state = ShardState.fresh(shard, config.learning)
    with Tail(reader_settings(config.kafka), config.events.topic, shard) as events:
        begin, end = events.bounds()
    state.next_offset = begin if config.events.start == "earliest" else end
    return state
