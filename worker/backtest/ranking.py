"""Who predicted best, and how sure that is: every run held against one of them, block by block."""

from collections.abc import Sequence
from dataclasses import dataclass

from worker.backtest.blocks import Blocks
from worker.backtest.bootstrap import compare
from worker.backtest.candidates import Candidate
from worker.backtest.running import Measured
from worker.errors import IncompatibleDataError
from worker.evaluation import measures
from worker.evaluation.runlog import Compared
from worker.quality.progress import WEIGHT


class Ranked(Compared):
    """A line of the ranking. Differences are of the same events, from the run that it is compared with."""

    kind: str  # how it is served: online, batch, base rate
    run: str  # the digest of the run, and the name of its files
    auc_difference: float | None = None  # above 0 is better
    auc_low: float | None = None
    auc_high: float | None = None
    neighbours: int | None = None  # blocks that were drawn together
    base_rate: float | None = None
    loss_kind: str = "logistic"

    @property
    def compared(self) -> Compared:
        """Give what a report tells of it."""
        return Compared.model_validate(self.model_dump(include=set(Compared.model_fields)))


@dataclass(frozen=True, kw_only=True, eq=False)
class Entry:
    """A run that was made."""

    candidate: Candidate
    digest: str
    measured: Measured


def ranking(entries: Sequence[Entry], *, confidence: float = 0.95, seed: int = 0) -> list[Ranked]:
    """Rank runs by their mean loss, the best first.

    Args:
        entries: of runs over the same events; all are compared with the first.
        confidence: of the intervals.
        seed: of the bootstrap.

    Raises:
        IncompatibleDataError: they did not predict the same events, or none that counts.
    """
    base = entries[0]
    if not base.measured.blocks.whole.sums[WEIGHT] > 0:
        raise IncompatibleDataError(
            f"no event was measured of {base.candidate.name} (rejected: {_reasons(base.measured.log.rejected)}): none "
            "could be read, or all have weight 0, or all came within the warm-up"
        )
    ranked = []
    for entry in entries:
        _require_same(base, entry)
        blocks = entry.measured.blocks
        told = measures.measures(blocks.whole)
        against = {} if entry is base else _against(blocks, base, confidence, seed)
        ranked.append(
            Ranked(
                name=entry.candidate.name, kind=entry.candidate.kind, run=entry.digest,
                log_loss=blocks.whole.loss, auc=told.auc, normalized_entropy=told.normalized_entropy,
                calibration=told.calibration, base_rate=told.base_rate, confidence=confidence, events=told.events,
                seconds=entry.measured.log.seconds, settings=dict(entry.candidate.settings),
                loss_kind="logistic" if blocks.logistic else "squared", **against,
            )
        )  # fmt: skip
    return sorted(ranked, key=lambda one: one.log_loss)  # stable: of equals the first one wins


def _against(blocks: Blocks, base: Entry, confidence: float, seed: int) -> dict[str, object]:
    found = compare(blocks, base.measured.blocks, confidence=confidence, seed=seed)
    area = found.auc
    return {
        "against": base.candidate.name,
        "difference": found.loss.value, "low": found.loss.low, "high": found.loss.high,
        "auc_difference": None if area is None else area.value,
        "auc_low": None if area is None else area.low, "auc_high": None if area is None else area.high,
        "neighbours": found.neighbours or None,
    }  # fmt: skip


def _require_same(base: Entry, other: Entry) -> None:
    if not base.measured.blocks.same_events(other.measured.blocks):
        one, two = base.measured.log, other.measured.log
        raise IncompatibleDataError(
            f"{other.candidate.name} did not predict the same events as {base.candidate.name} ({two.events:,} and "
            f"{one.events:,} of them; rejected: {_reasons(two.rejected)}, and {_reasons(one.rejected)}): a feature "
            "that one of them needs is missing or not valid in some events. Compare configurations that read the same "
            "events"
        )


def _reasons(rejected: dict[str, int]) -> str:
    return ", ".join(f"{reason} {count:,}" for reason, count in rejected.items()) or "none"
