"""What a reader who reads no further should know: what was run, which run is best, and whether it drifted."""

from collections.abc import Iterator, Sequence

from worker.evaluation.runlog import Compared, RunLog
from worker.report.comparing import Difference, difference, of_comparison, ranked, same_events
from worker.report.markup import Markup, join, tag
from worker.report.scales import moment
from worker.report.words import count, plural, share, signed, value

_CALIBRATED = 0.02  # so far from 1 is close enough to need no action
_MANY = 3  # names in a sentence


def sentences(runs: Sequence[RunLog], comparison: Sequence[Compared] | None) -> list[Markup]:
    """Say it, a sentence or two each."""
    best = _best_of(runs, comparison)
    return [_what(runs), *_best(runs, best, comparison), *_good(best), *_drift(runs, best), *_rejected(runs)]


def _what(runs: Sequence[RunLog]) -> Markup:
    first = runs[0]
    same = all(same_events(first, run) for run in runs)
    sources = sorted({run.source for run in runs if run.source})
    events = (
        count(first.events)
        if same
        else f"{count(min(run.events for run in runs))} to {count(max(run.events for run in runs))}"
    )
    parts: list[Markup | str] = [tag("b", plural(len(runs), "run")), f" over {events} events"]
    if len(sources) == 1:
        parts += [" of ", tag("b", sources[0])]
    elif sources:
        parts += [f" of {len(sources)} sources"]
    bounds = [(run.windows[0].begin, run.windows[-1].end) for run in runs if run.windows]
    if bounds:
        begin, end = min(one for one, _ in bounds), max(one for _, one in bounds)
        parts += [", whose event time goes from ", _time(begin, precise=False), " to ", _time(end, precise=False)]
    parts += [". Every event was predicted before it was learned, so all numbers are of events the model had not seen."]
    if not same:
        parts += [" The runs measured different events: compare their numbers with care."]
    return join(*parts)


def _best(runs: Sequence[RunLog], best: RunLog, comparison: Sequence[Compared] | None) -> Iterator[Markup]:
    if best.totals.loss is None:
        yield join("No event was measured: there is no loss to tell.")
        return
    loss = "log loss" if best.loss == "logistic" else "loss"
    if comparison:
        yield _of_comparison(comparison, loss)
        return
    if len(runs) == 1:
        yield join(f"Its {loss} is ", tag("b", value(best.totals.loss)), ".")
        return
    second = ranked(runs)[1]
    how = "from window to window of the same events"
    names = (best.name, best.totals.loss), (second.name, second.totals.loss)
    yield _ranking(*names, loss, _certainty(difference(best, second), how))


def _of_comparison(comparison: Sequence[Compared], loss: str) -> Markup:
    best, *others = sorted(comparison, key=lambda one: one.log_loss)
    if not others:
        return join(f"The {loss} of ", tag("b", best.name), " is ", tag("b", value(best.log_loss)), ".")
    second = others[0]
    if second.against == best.name:  # which makes it the other way round
        found = of_comparison(second)
        found = found and found.reversed
    else:
        found = of_comparison(best) if best.against == second.name else None
    names = (best.name, best.log_loss), (second.name, second.log_loss)
    return _ranking(*names, loss, _certainty(found, "event by event"))


def _ranking(
    best: tuple[str, float], second: tuple[str, float | None], loss: str, certainty: tuple[bool, Markup]
) -> Markup:
    (name, lowest), (next_name, next_loss), (clear, told) = best, second, certainty
    verdict = "predicts best" if clear else "has the lowest loss"
    parts: list[Markup | str] = [tag("b", name), f" {verdict}: {loss} ", tag("b", value(lowest))]
    if next_loss:
        lower = f"{share(1 - lowest / next_loss)} lower"
        parts += [", ", tag("b", lower) if clear else lower, f" than the next one, {next_name} ({value(next_loss)})"]
    return join(*parts, ". ", told)


def _certainty(found: Difference | None, how: str) -> tuple[bool, Markup]:
    """Tell whether a difference is more than chance, and say so."""
    if found is None:
        return False, Markup()
    if found.low is None or found.high is None:
        return False, join(f"The difference is {signed(found.mean)}; whether that is chance, these runs cannot tell.")
    sure = f"with {share(found.confidence)} confidence, {how}"
    between = f"The difference is {signed(found.mean)}, between {signed(found.low)} and {signed(found.high)} {sure}: "
    if found.is_clear:
        return True, join(between, "more than chance.")
    return False, join(between, tag("b", "it may be chance"), ".")


def _good(best: RunLog) -> Iterator[Markup]:
    told = best.totals
    if told.loss is None or best.loss != "logistic":
        return
    parts: list[Markup | str] = []
    if told.normalized_entropy is not None:
        gain = 1 - told.normalized_entropy
        than = "better" if gain > 0 else "worse"
        of_base = f"{share(told.base_rate)} positive labels"
        parts.append(f"That is {share(abs(gain))} {than} than always answering with the base rate, {of_base}. ")
    if told.auc is not None:
        parts += [f"It orders events right in {share(told.auc)} of pairs (AUC). "]
    if told.calibration is not None:
        off = told.calibration - 1
        if abs(off) <= _CALIBRATED:
            parts += [f"Its scores are right in the mean (calibration {told.calibration:.3f})."]
        else:
            parts += [
                "Its scores are ",
                tag("b", f"{share(abs(off))} too {'high' if off > 0 else 'low'}"),
                f" in the mean (calibration {told.calibration:.3f}).",
            ]
    if parts:
        yield join(*parts)


def _drift(runs: Sequence[RunLog], best: RunLog) -> Iterator[Markup]:
    alarmed = [run for run in runs if run.alarms]
    if not alarmed:
        yield join("No drift detector raised an alarm.")
        return
    run = best if best.alarms else alarmed[0]
    parts: list[Markup | str] = [tag("b", "Drift"), f": {plural(run.alarms, 'alarm')} in {run.name}"]
    if run.marks:
        first = run.marks[0]
        parts += [", the first at ", _time(first.time), f" ({first.signal}, shard {first.shard})"]
    others = [one for one in alarmed if one is not run]
    if others:
        names = ", ".join(one.name for one in others[:_MANY])
        parts += [
            f"; {plural(len(others), 'other run')} alarmed too: {names}{' and more' if len(others) > _MANY else ''}"
        ]
    elif len(runs) > 1:
        parts += ["; no other run alarmed"]
    yield join(*parts, ".")


def _rejected(runs: Sequence[RunLog]) -> Iterator[Markup]:
    worst = max(runs, key=lambda run: sum(run.rejected.values()))
    rejected = sum(worst.rejected.values())
    if not rejected:
        yield join("No record was rejected.")
        return
    reason, most = max(worst.rejected.items(), key=lambda item: item[1])
    of_all = share(rejected / (rejected + worst.events))
    yield join(
        f"{plural(rejected, 'event')} ({of_all}) could not be read and {'was' if rejected == 1 else 'were'} left out"
        f"{f' in {worst.name}' if len(runs) > 1 else ''}, most often as {reason} ({count(most)})."
    )


def _time(milliseconds: int, *, precise: bool = True) -> Markup:
    return tag("span", moment(milliseconds, precise=precise), class_="whole")


def _best_of(runs: Sequence[RunLog], comparison: Sequence[Compared] | None) -> RunLog:
    """Give the best run, by the comparison if there is one and it is among the runs."""
    ranking = ranked(runs)
    if comparison:
        name = min(comparison, key=lambda one: one.log_loss).name
        return next((run for run in ranking if run.name == name), ranking[0])
    return ranking[0]
