"""The tables behind the charts: the same values, for who does not see them, and for who wants the digits."""

from collections.abc import Sequence

from worker.evaluation.measures import Slice
from worker.evaluation.runlog import RunLog
from worker.report.figures import Axis, Figure
from worker.report.markup import Child, Markup, join
from worker.report.scales import span
from worker.report.tables import Column, behind, columns_of, named, table
from worker.report.words import count, plural, share, value


def windows_table(figure: Figure, runs: Sequence[RunLog], axis: Axis) -> Markup:
    """Tell a value of every window of runs."""
    told: dict[int, dict[int, str]] = {}
    for number, run in enumerate(runs):
        for window in run.windows:
            told.setdefault(window.begin - axis.starts[number], {})[number] = value(figure.of(window))
    columns = [Column(head="Window begins", text=True, whole=True), *columns_of(runs)]
    rows = [
        [axis.moment(begin), *(cells.get(number, "") for number in range(len(runs)))]
        for begin, cells in sorted(told.items())
    ]
    return behind(table(columns, rows, label=f"{figure.title} by window"), f"Values of {plural(len(rows), 'window')}")


def reliability_table(runs: Sequence[RunLog]) -> Markup:
    """Tell of every bin of scores, how often labels were positive."""
    bins = {(one.low, one.high) for run in runs for one in run.reliability}
    by_run = [{(one.low, one.high): one for one in run.reliability} for run in runs]
    columns = [Column(head="Score", text=True, whole=True)]
    for number, run in enumerate(runs):
        columns += [Column(head=join(named(run, number), ": positive"), run=number), Column(head="events", run=number)]
    rows = []
    for low, high in sorted(bins):
        row: list[Child] = [f"{share(low)} to {share(high)}"]
        for of_run in by_run:
            one = of_run.get((low, high))
            row += [share(one.label) if one else "", count(one.weight) if one else ""]
        rows.append(row)
    return behind(
        table(columns, rows, label="Positive labels by score"), f"Values of {plural(len(rows), 'bin')} of scores"
    )


def throughput_table(runs: Sequence[RunLog]) -> Markup:
    """Tell of every run how fast it was when."""
    told: dict[float, dict[int, str]] = {}
    for number, run in enumerate(runs):
        for pace in run.throughput:
            told.setdefault(pace.seconds, {})[number] = count(pace.events / pace.length_seconds)
    columns = [Column(head="Since the beginning", text=True, whole=True), *columns_of(runs)]
    rows = [
        [span(1_000 * at), *(cells.get(number, "") for number in range(len(runs)))]
        for at, cells in sorted(told.items())
    ]
    return behind(table(columns, rows, label="Events a second"), f"Values of {plural(len(rows), 'step')}")


def slices_tables(runs: Sequence[RunLog]) -> list[Markup]:
    """Tell of every slice, how well runs predict it: its loss, and behind lines that open them the other values."""
    of_runs = [{(one.field, one.value): one for one in run.slices} for run in runs]
    names = list(dict.fromkeys(name for of_run in of_runs for name in of_run))
    if not names:
        return []
    columns = [Column(head="Slice", text=True, whole=True), Column(head="Share"), Column(head="Base rate")]
    shown = [("Loss", "loss"), ("Normalised entropy", "normalized_entropy"), ("Calibration", "calibration")]
    made = []
    for what, of in shown if runs[0].loss == "logistic" else shown[:1]:
        rows = [
            [
                f"{name[0]} = {name[1]}", *_size_of(name, runs, of_runs),
                *(value(getattr(one.get(name), of, None)) for one in of_runs),
            ]
            for name in names
        ]  # fmt: skip
        made.append(table([*columns, *columns_of(runs)], rows, label=f"{what} by slice"))
    return [made[0], *(behind(one, what) for one, (what, _) in zip(made[1:], shown[1:], strict=False))]


def _size_of(
    name: tuple[str, str], runs: Sequence[RunLog], of_runs: Sequence[dict[tuple[str, str], Slice]]
) -> tuple[str, str]:
    """Give the share of a slice among all events, and its base rate, by the first run that has it."""
    run, one = next((run, of_run[name]) for run, of_run in zip(runs, of_runs, strict=True) if name in of_run)
    return share(one.weight / run.totals.weight if run.totals.weight else None), share(one.base_rate)
