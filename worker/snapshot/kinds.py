"""The kinds of learners, made as a configuration says."""

from worker.events.features import thresholds_of
from worker.events.hashing import key_of
from worker.learning import Learning
from worker.model import admission, selection, standardising, window
from worker.model.admission import Admission
from worker.model.bounds import Bounds
from worker.model.cells import Cells
from worker.model.ftrl import Ftrl, FtrlSettings
from worker.model.gaussian import Gaussian, Settings
from worker.model.labels import Labelling
from worker.model.learner import Learner
from worker.model.pairs import Pairs
from worker.model.rows import Prior
from worker.model.sgd import Sgd
from worker.model.standardising import Standardiser
from worker.quality.breaker import Breaker
from worker.quality.gate import Gate
from worker.quality.loosening import Loosening
from worker.quality.slices import Slices
from worker.quality.watch import Watching


def learner_of(learning: Learning, cells: Cells | None = None, *, reserve: bool = True) -> Learner:
    """Make the learner of a shard, before any event.

    Args:
        learning: what it is.
        cells: what the shard remembers beside its rows; of its own where there are none.
        reserve: make room for all its rows, which one that is to learn will need.
    """
    settings, bytes_ = learning.model, learning.model.max_bytes_each
    if bytes_ and learning.admits:
        bytes_ = max(1, bytes_ - admission.bytes_of(settings.admission_counters))
    bounds = Bounds(rows=settings.max_rows, bytes=bytes_)
    cells = cells_of(learning) if cells is None else cells
    learner = _learner(learning, bounds, cells, reserve=reserve)
    if learning.admits:
        learner.room.admission = Admission(thresholds_of(learning), cells, evicts=bool(bounds))
    return learner


def _learner(learning: Learning, bounds: Bounds, cells: Cells, *, reserve: bool) -> Learner:
    settings = learning.model
    logistic, labelling = settings.loss == "logistic", labelling_of(learning)
    if settings.kind == "sgd":
        return Sgd(rate=settings.learning_rate, logistic=logistic, bounds=bounds, labelling=labelling)
    if settings.kind == "ftrl":
        return Ftrl(
            FtrlSettings(alpha=settings.ftrl_alpha, beta=settings.ftrl_beta, l1=settings.ftrl_l1, l2=settings.ftrl_l2),
            bounds,
            labelling,
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
            labelling=labelling,
            merge=settings.merge,
            half_life_ms=settings.half_life_ms,
            bounds=bounds,
        ),
        fields=1 + len(learning.features),
        pairs=_pairs_of(learning, cells),
        reserve=reserve,
    )


def _pairs_of(learning: Learning, cells: Cells) -> Pairs:
    pairs, fields = learning.model.pairs, 1 + len(learning.features)
    if pairs == "auto" and selection.REGION in cells.sizes:
        return selection.Selection(fields, cells)
    if isinstance(pairs, str):
        return Pairs(fields, [] if pairs == "none" else None)
    numbers = {name: number for number, name in enumerate(("bias", *learning.features))}
    return Pairs(fields, [(numbers[one], numbers[other]) for one, other in pairs])


def labelling_of(learning: Learning) -> Labelling:
    """Say what happened to labels before they are learned."""
    return Labelling(flips=learning.model.label_noise, kept=learning.events.keep_negatives)


def watching_of(learning: Learning) -> Watching:
    """Say how a shard is watched."""
    quality, names = learning.quality, ("bias", *learning.features)
    return Watching(
        logistic=learning.model.loss == "logistic",
        window_events=quality.window,
        false_alarm_every_events=quality.false_alarm_every,
        kept=learning.events.keep_negatives,
        slices=Slices.of(
            {name: [(value, key_of(name, value)) for value in values] for name, values in quality.slices.items()},
            {name: number for number, name in enumerate(names)},
        ),
        settings=quality.model_dump_json(include={"false_alarm_every", "window", "slices"}),
    )


def gate_of(learning: Learning) -> Gate:
    """Say which versions may be served."""
    quality = learning.quality
    return Gate(highest_entropy=quality.gate_entropy, calibration=quality.gate_calibration)


def breaker_of(learning: Learning) -> Breaker | None:
    """Say which blocks of events may be learned; None where none is judged."""
    quality = learning.quality
    if not quality.freeze_events:
        return None
    return Breaker(
        events=quality.freeze_events,
        seconds=quality.freeze_seconds,
        resume=quality.freeze_resume,
        base_rate=quality.freeze_base_rate,
        rejected_share=quality.freeze_rejected_share,
        unknown_share=quality.freeze_unknown_share,
    )


def loosening_of(learning: Learning) -> Loosening:
    """Say whether alarms of drift are answered by loosening, and how far."""
    quality = learning.quality
    return Loosening(limit=quality.loosen_to if quality.response == "loosen" else None)


def cells_of(learning: Learning) -> Cells:
    """Make what a shard remembers beside its rows."""
    regions = {}
    if learning.events.id is not None:
        regions[window.REGION] = window.words_of(learning.events.duplicate_window)
    if learning.standardised:
        regions[standardising.REGION] = standardising.WORDS * len(learning.standardised)
    if learning.admits:
        regions[admission.REGION] = admission.words_of(learning.model.admission_counters)
    if learning.model.pairs == "auto" and (words := selection.region_words(1 + len(learning.features))):
        regions[selection.REGION] = words
    return Cells(regions)


def standardiser_of(learning: Learning, cells: Cells) -> Standardiser:
    """Make what puts numbers on one scale, by what the cells of a shard remember of them."""
    names = list(learning.features)
    fields = [1 + names.index(name) for name in learning.standardised]  # the bias comes first
    return Standardiser(cells, fields, [learning.features[name].clip for name in learning.standardised])
