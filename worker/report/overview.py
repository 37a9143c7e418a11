"""The first tables of a report: every run, and how they compare."""

from collections.abc import Sequence

from worker.evaluation.runlog import Compared, RunLog
from worker.report.chart import interval
from worker.report.comparing import ranked
from worker.report.markup import Child, Markup, join, tag
from worker.report.scales import Scale
from worker.report.tables import MOST_RUNS, Column, left_out, named, table
from worker.report.words import UNKNOWN, count, share, signed, value


def runs_table(runs: Sequence[RunLog], shown: Sequence[RunLog]) -> Markup:
    """Tell of every run, the best first."""
    best, logistic = ranked(runs)[0].totals.loss, runs[0].loss == "logistic"
    heads = ["Log loss" if logistic else "Loss", "vs best"]
    if logistic:
        heads += ["Normalised entropy", "Calibration", "Calibration error", "AUC"]
    else:
        heads += ["Mean prediction", "Mean label"]
    heads += ["Events", "Events/s", "Alarms", "Rejected"]
    columns = [
        Column(head="Run", text=True),
        Column(head="Mode", text=True, whole=True),
        *(Column(head=head) for head in heads),
    ]
    rows = []
    for run in ranked(runs)[:MOST_RUNS]:
        told = run.totals
        row: list[Child] = [
            named(run, _number(run, shown)), run.mode, tag("b", value(told.loss)),
            _versus(told.loss, best),
        ]  # fmt: skip
        if logistic:
            row += map(value, (told.normalized_entropy, told.calibration, told.calibration_error, told.auc))
        else:
            row += [value(told.mean_score), value(told.base_rate)]
        rejected = sum(run.rejected.values())
        rows.append([*row, count(run.events), count(run.events_per_second), count(run.alarms), count(rejected)])
    bound = max((run.totals.auc_error or 0.0 for run in runs), default=0.0)
    note = (
        f"The calibration error is the mean distance of score and share of positive labels, over bins of scores. "
        f"AUC is counted from bins as well: that moves it by {bound:.1g} at most."
    )
    return join(
        table(columns, rows, label="Runs"), left_out(len(runs) - MOST_RUNS, "run"),
        tag("p", note, class_="soft note") if logistic else None,
    )  # fmt: skip


def comparison_table(comparison: Sequence[Compared]) -> Markup:
    """Tell how runs compare, event by event, with the interval of each difference drawn."""
    entries = sorted(comparison, key=lambda one: one.log_loss)[:MOST_RUNS]
    ends = [end for one in entries for end in (one.low, one.high, one.difference) if end is not None]
    scale = Scale.of_values([*ends, 0.0])
    columns = [
        Column(head="Run", text=True), Column(head="Log loss"), Column(head="AUC"), Column(head="Difference"),
        Column(head="Confidence interval"), Column(head=f"{scale.low:+.2g} … 0 … {scale.high:+.2g}", text=True),
        Column(head="Compared with", text=True),
    ]  # fmt: skip
    rows = []
    for one in entries:
        known = one.difference is not None and one.low is not None and one.high is not None
        rows.append(
            [
                one.name, tag("b", value(one.log_loss)), value(one.auc), signed(one.difference),
                f"{signed(one.low)} to {signed(one.high)} ({share(one.confidence)})" if known else UNKNOWN,
                interval(one.low or 0.0, one.high or 0.0, one.difference or 0.0, scale) if known else UNKNOWN,
                one.against or UNKNOWN,
            ]
        )  # fmt: skip
    made = table(columns, rows, label="Comparison of runs")
    return join(tag("div", made, class_="compared"), left_out(len(comparison) - MOST_RUNS, "run"))


def _number(run: RunLog, shown: Sequence[RunLog]) -> int | None:
    return next((number for number, one in enumerate(shown) if one is run), None)


def _versus(loss: float | None, best: float | None) -> str:
    if loss is None or not best:
        return UNKNOWN
    return f"+{share(loss / best - 1)}" if loss != best else "best"
