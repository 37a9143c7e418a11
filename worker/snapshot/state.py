"""The state of a shard: everything that a version carries, and nothing else."""

from collections import Counter
from dataclasses import dataclass, field

import xxhash

from worker.config import Learning
from worker.model.gaussian import Gaussian, Settings
from worker.model.table import Prior
from worker.quality.progress import Progress
from worker.snapshot.manifest import Base


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A base on its way: the rows from number `next_row` to `stop_row` are still to be sent.

    Rows added since it began lie in the deltas: a base that ran after them might never be complete.
    """

    version: int  # the first that carries a part
    stop_row: int
    offset: int | None = None  # of that version's first record, known once it is written
    next_row: int = 0

    @property
    def done(self) -> bool:
        """Tell whether all of it is sent."""
        return self.next_row >= self.stop_row


@dataclass(kw_only=True)
class ShardState:
    """The parameters of one shard, how well it predicted, and where it stands in its lineage."""

    shard: int
    model: Gaussian
    progress: Progress
    rejected: Counter[str] = field(default_factory=Counter)
    watermark: int | None = None  # latest event time, milliseconds since 1970
    next_offset: int = 0  # of the event topic
    version: int = 0  # the last one committed; 0 before the first
    chain: str = ""
    bases: list[Base] = field(default_factory=list)
    sweep: Sweep | None = None
    bytes_since_base: int = 0

    @classmethod
    def fresh(cls, shard: int, learning: Learning) -> "ShardState":
        """Give the state before any event."""
        settings = learning.model
        prior = Prior(
            factors=settings.factors,
            seed=settings.seed,
            init_deviation=settings.init_deviation,
            weight_precision=settings.prior_weight_precision,
            factor_precision=settings.prior_factor_precision,
        )
        logistic = settings.loss == "logistic"
        model = Gaussian(
            Settings(
                prior=prior,
                pair_precision=settings.prior_pair_precision,
                logistic=logistic,
                noise_variance=settings.noise_variance,
            ),
            fields=1 + len(learning.features),
        )
        return cls(shard=shard, model=model, progress=Progress(logistic=logistic))

    def digest(self) -> str:
        """Digest all that was learned and counted: 32 hexadecimal digits.

        It depends on the events alone: not on versions, batches, restarts or the order of rows. Settles the table, so
        it belongs to a commit.
        """
        whole = xxhash.xxh3_128()
        whole.update(self.model.digest().to_bytes(8, "little"))
        whole.update(self.progress.sums.tobytes())
        whole.update(self.progress.histogram.tobytes())
        whole.update(repr((sorted(self.rejected.items()), self.watermark, self.next_offset)).encode())
        return whole.hexdigest()
