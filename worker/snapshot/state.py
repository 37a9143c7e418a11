"""The state of a shard: everything that a version carries, and nothing else."""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

import xxhash

from worker.learning import Learning
from worker.model.cells import Cells
from worker.model.learner import Learner
from worker.model.ledger import Contribution
from worker.model.standardising import Standardiser
from worker.model.window import Window
from worker.quality.loosening import Loosening
from worker.quality.progress import Progress
from worker.quality.watch import Watch
from worker.snapshot.kinds import cells_of, learner_of, loosening_of, standardiser_of, watching_of
from worker.snapshot.manifest import Base, Counts, Peer


class Skipped(StrEnum):
    """Why a valid event is not learned."""

    DUPLICATE = "duplicate"  # its id is in the window
    POISON = "poison"  # in a range of offsets that is passed over, by `events.skip` or by the breaker
    NEGATIVE = "negative"  # of those that `events.keep_negatives` leaves out


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A base on its way: the rows from number `next_row` to `stop_row` are still to be sent.

    Rows added since it began lie in the deltas: a base that ran after them might never be complete.
    """

    version: int  # the first that carries a part
    stop_row: int
    # What was ever added to shared rows before that version, by this shard and by all: sums, so they must not move.
    own: Contribution | None = None
    merged: Contribution | None = None
    peers: dict[int, Peer] = field(default_factory=dict)
    offset: int | None = None  # of that version's first record, known once it is written
    next_row: int = 0
    next_entry: int = 0  # of the ledger, which follows the rows
    next_word: int = 0  # of the cells, which follow that
    stop_word: int = 0

    @property
    def done(self) -> bool:
        """Tell whether all of it is sent."""
        entries = len(self.merged) if self.merged else 0
        return self.next_row >= self.stop_row and self.next_entry >= entries and self.next_word >= self.stop_word


@dataclass(kw_only=True)
class ShardState:
    """The parameters of one shard, how well it predicted, and where it stands in its lineage."""

    shard: int
    model: Learner
    progress: Progress
    watch: Watch  # whether it goes wrong
    loosening: Loosening  # and what follows from that
    cells: Cells  # what it remembers beside rows
    standardiser: Standardiser  # of the numbers that events hold, by what is in the cells
    window: Window | None = None  # of event ids, in the cells; None where they have none
    rejected: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)  # valid events, not learned
    passed_over: list[tuple[int, int]] = field(default_factory=list)  # by the breaker, since the version before
    watermark: int | None = None  # latest event time, milliseconds since 1970
    next_offset: int = 0  # of the event topic
    version: int = 0  # the last one committed; 0 before the first
    chain: str = ""
    first: int = 0  # the version that reading began with; 0 where nothing was read
    peers: dict[int, Peer] = field(default_factory=dict)  # how far the other shards are folded in
    bases: list[Base] = field(default_factory=list)
    last_servable: int = 0  # the last version that followers were to serve; 0 where there is none
    sweep: Sweep | None = None
    bytes_since_base: int = 0

    @classmethod
    def fresh(cls, shard: int, learning: Learning, *, reserve: bool = True) -> "ShardState":
        """Give the state before any event; with room for all rows of a bounded model at once, unless told otherwise."""
        cells = cells_of(learning)
        model = learner_of(learning, cells, reserve=reserve)
        progress = Progress(logistic=learning.model.loss == "logistic")
        standardiser = standardiser_of(learning, cells)
        window = Window(cells) if learning.events.id is not None else None
        watch = Watch.fresh(watching_of(learning))
        return cls(
            shard=shard, model=model, progress=progress, watch=watch, loosening=loosening_of(learning), cells=cells,
            standardiser=standardiser, window=window,
        )  # fmt: skip

    def counts(self) -> Counts:
        """Copy what has happened to the shard so far."""
        room = self.model.room
        return Counts(
            events=self.progress.events,
            unstable=self.model.unstable,
            loosened=self.loosening.times,
            evicted=room.evicted,
            admitted=room.admission.admitted if room.admission is not None else 0,
            held_back=room.admission.held_back if room.admission is not None else 0,
            rejected=dict(sorted(self.rejected.items())),
            skipped={str(why): count for why, count in sorted(self.skipped.items())},
        )

    def view(self) -> str:
        """Digest what all shards are known to have added to shared rows: 16 hexadecimal digits, empty if none share."""
        return f"{self.model.shared.merged.digest:016x}" if self.model.shared is not None else ""

    def digest(self) -> str:
        """Digest all that this shard has learned and counted: 32 hexadecimal digits.

        It depends on the events alone: not on versions, batches, restarts or the order of rows. Where shards are
        merged, it also depends on which versions of the others were known to it when. Settles table and cells, so it
        belongs to a commit.
        """
        whole = xxhash.xxh3_128()
        whole.update(self.model.digest().to_bytes(8, "little"))
        whole.update(self.progress.sums.tobytes())
        whole.update(self.progress.histogram.tobytes())
        if len(self.cells):
            whole.update(self.cells.settle().to_bytes(8, "little"))
        whole.update(repr((sorted(self.rejected.items()), self.watermark, self.next_offset)).encode())
        if self.skipped:
            whole.update(repr(sorted((str(why), count) for why, count in self.skipped.items())).encode())
        if self.loosening.on:  # then what is watched decides what is learned
            whole.update(repr((self.loosening.times, self.loosening.event, self.watch.digest())).encode())
        return whole.hexdigest()
