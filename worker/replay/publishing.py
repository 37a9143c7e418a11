"""The shards at the end of a replay as the first versions of a model of their own, all in one transaction.

Followers see all of it or nothing. A replay that is interrupted has written nothing; one that is done finds, when it is
started again, that its model is there, and refuses to add another one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

from worker.config import Config
from worker.errors import ConfigurationError
from worker.model.batch import SHARED
from worker.model.shared import carried
from worker.snapshot.resharding import Moved
from worker.snapshot.sealing import Writing
from worker.snapshot.state import ShardState
from worker.stream import client, handover, provision
from worker.stream.tail import Tail


@dataclass(frozen=True, kw_only=True)
class Target:
    """A model topic that nothing was published to."""

    config: Config
    writing: Writing

    @classmethod
    def of(cls, config: Config, topic: str, shards: int) -> Self:
        """Look at a topic before the work begins; make it where it is missing.

        Args:
            config: of the model.
            topic: where it goes.
            shards: how many it has.

        Raises:
            ConfigurationError: it is the configuration's own, or holds a model already.
            IncompatibleDataError: it has another number of partitions.
            BrokerUnreachableError: no broker answers.
        """
        if topic in (config.model.topic, config.events.topic, config.dead_letter.topic):
            raise ConfigurationError(
                f"{topic} is a topic of the configuration: name another one for the replayed model"
            )
        target = config.model_copy(update={"model": config.model.model_copy(update={"topic": topic})})
        limit_bytes = provision.create_model(client.administer(config), target, shards)
        for shard in range(shards):
            with Tail(client.reader_settings(config.kafka), topic, shard) as tail:
                if tail.last_manifest(readable=True) is not None:
                    raise ConfigurationError(
                        f"{topic} holds a model already: if this replay wrote it, all is done; else name another topic"
                    )
        return cls(config=target, writing=Writing.of(target, limit_bytes))

    def publish(self, states: Mapping[int, ShardState], progress: Callable[[int], None] = lambda _rows: None) -> int:
        """Write the first version of each shard; gives the bytes. The group's offsets are left alone.

        Raises:
            BrokerUnreachableError: no answer in time; nothing is to be seen there.
        """
        moved = [moved_of(state, self.config) for _, state in sorted(states.items())]
        return handover.publish(self.config, moved, self.writing, progress, offsets=False)


def moved_of(state: ShardState, config: Config) -> Moved:
    """Copy all of a shard, as that before its first version.

    Local rows count as touched; what it has added to shared rows is its contribution. Where the past is forgotten that
    is rounded to as many zero bits as every contribution has.
    """
    learning = config.learning
    new = ShardState.fresh(state.shard, learning)
    table = state.model.table
    rows = table.part(0, len(table))
    new.model.table.put(rows[(rows.keys & SHARED) == 0])
    new.cells.put(state.cells.part(0, len(state.cells)))
    new.model.clock.set(state.model.clock.time, state.model.clock.pending)
    new.model.unstable, new.model.room.evicted = state.model.unstable, state.model.room.evicted
    new.progress, new.watch = state.progress.copy(), state.watch.copy()
    new.loosening.times, new.loosening.event = state.loosening.times, state.loosening.event
    new.rejected, new.skipped = state.rejected.copy(), state.skipped.copy()
    new.watermark, new.next_offset = state.watermark, state.next_offset
    shared = state.model.shared
    if shared is None:
        new.model.pair_means, new.model.pair_precisions = (
            state.model.pair_means.copy(), state.model.pair_precisions.copy(),
        )  # fmt: skip
        return Moved(state=new, contribution=None)
    width = shared.own.amounts.shape[1]
    return Moved(state=new, contribution=carried([shared], width, fades=state.model.clock.runs))
