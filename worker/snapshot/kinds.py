"""The kinds of learners, made as a configuration says."""

from worker.config import Learning
from worker.events.features import thresholds_of
from worker.model.admission import Admission, bytes_for, regions
from worker.model.bounds import Bounds
from worker.model.cells import Cells
from worker.model.ftrl import Ftrl, FtrlSettings
from worker.model.gaussian import Gaussian, Settings
from worker.model.learner import Learner
from worker.model.sgd import Sgd
from worker.model.table import Prior


def learner_of(learning: Learning, cells: Cells | None = None, *, reserve: bool = True) -> Learner:
    """Make the learner of a shard, before any event.

    Args:
        learning: what it is.
        cells: what the shard remembers beside its rows; of its own where there are none.
        reserve: make room for all its rows, which one that is to learn will need.
    """
    settings, bytes_ = learning.model, learning.model.max_bytes_each
    if bytes_ and learning.admits:
        bytes_ = max(1, bytes_ - bytes_for(settings.admission_counters))
    bounds = Bounds(rows=settings.max_rows, bytes=bytes_)
    learner = _learner(learning, bounds, reserve=reserve)
    if learning.admits:
        cells = cells_of(learning) if cells is None else cells
        learner.room.admission = Admission(thresholds_of(learning), cells, evicts=bool(bounds))
    return learner


def _learner(learning: Learning, bounds: Bounds, *, reserve: bool) -> Learner:
    settings = learning.model
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
        reserve=reserve,
    )


def cells_of(learning: Learning) -> Cells:
    """Make what a shard remembers beside its rows."""
    return Cells(regions(learning.model.admission_counters) if learning.admits else {})
