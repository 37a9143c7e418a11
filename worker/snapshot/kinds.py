"""The kinds of learners, made as a configuration says."""

from worker.config import Learning
from worker.model.cells import Cells
from worker.model.ftrl import Ftrl, FtrlSettings
from worker.model.gaussian import Gaussian, Settings
from worker.model.learner import Learner
from worker.model.sgd import Sgd
from worker.model.table import Prior


def learner_of(learning: Learning) -> Learner:
    """Make the learner of a shard, before any event."""
    settings = learning.model
    logistic = settings.loss == "logistic"
    if settings.kind == "sgd":
        return Sgd(rate=settings.learning_rate, logistic=logistic)
    if settings.kind == "ftrl":
        return Ftrl(
            FtrlSettings(alpha=settings.ftrl_alpha, beta=settings.ftrl_beta, l1=settings.ftrl_l1, l2=settings.ftrl_l2)
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
        ),
        fields=1 + len(learning.features),
    )


def cells_of(_: Learning) -> Cells:
    """Make what a shard remembers beside its rows."""
    return Cells({})
