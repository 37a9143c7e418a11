"""The kinds of learners, made as a configuration says."""

from worker.config import Learning
from worker.model import selection
from worker.model.bounds import Bounds
from worker.model.cells import Cells
from worker.model.ftrl import Ftrl, FtrlSettings
from worker.model.gaussian import Gaussian, Settings
from worker.model.learner import Learner
from worker.model.pairs import Pairs
from worker.model.sgd import Sgd
from worker.model.table import Prior


def learner_of(learning: Learning, cells: Cells | None = None, *, reserve: bool = True) -> Learner:
    """Make the learner of a shard, before any event.

    Args:
        learning: how it learns.
        cells: of the shard, where it keeps what is not in rows; its own where it is alone.
        reserve: for one that is to learn: room for all its rows.
    """
    settings = learning.model
    bounds = Bounds(rows=settings.max_rows, bytes=settings.max_bytes_each)
    logistic = settings.loss == "logistic"
    if settings.kind == "sgd":
        return Sgd(rate=settings.learning_rate, logistic=logistic, bounds=bounds)
    if settings.kind == "ftrl":
        return Ftrl(
            FtrlSettings(alpha=settings.ftrl_alpha, beta=settings.ftrl_beta, l1=settings.ftrl_l1, l2=settings.ftrl_l2),
            bounds,
        )
    prior = Prior(
        factors=settings.factors,
        seed=settings.seed,
        init_deviation=settings.init_deviation,
        weight_precision=settings.prior_weight_precision,
        factor_precision=settings.prior_factor_precision,
    )
    return Gaussian(
        Settings(
            prior=prior,
            pair_precision=settings.prior_pair_precision,
            logistic=logistic,
            noise_variance=settings.noise_variance,
            merge=settings.merge,
            half_life_ms=settings.half_life_ms,
            bounds=bounds,
        ),
        fields=1 + len(learning.features),
        pairs=_pairs_of(learning, cells_of(learning) if cells is None else cells),
        reserve=reserve,
    )


def cells_of(learning: Learning) -> Cells:
    """Make what a shard remembers beside its rows."""
    pairs = selection.region_words(1 + len(learning.features)) if learning.model.pairs == "auto" else 0
    return Cells({selection.REGION: pairs} if pairs else {})


def _pairs_of(learning: Learning, cells: Cells) -> Pairs:
    pairs, fields = learning.model.pairs, 1 + len(learning.features)
    if pairs == "auto" and selection.REGION in cells.sizes:
        return selection.Selection(fields, cells)
    if isinstance(pairs, str):
        return Pairs(fields, [] if pairs == "none" else None)
    numbers = {name: number for number, name in enumerate(("bias", *learning.features))}
    return Pairs(fields, [(numbers[one], numbers[other]) for one, other in pairs])
