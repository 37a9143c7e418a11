"""What is compared: configurations from files and grids, and the baselines beside them; all checked before any runs."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import JsonValue

from worker.backtest.deciding import differing_events, idle, learned
from worker.backtest.grid import Combination
from worker.backtest.running import Kind
from worker.config import Config
from worker.errors import ConfigurationError
from worker.evaluation.configuration import changed
from worker.setting_names import exists, unknown
from worker.settings import load, read

MOST_RUNS: Final = 50  # of a grid, unless more are asked for by name
BASE: Final = "default"  # the name of the configuration that all are compared with
_DURATION = re.compile(r"([0-9]{1,9})(ms|s|m|h|d)")
_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_MOST_PROBLEMS = 10  # told at once


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A configuration, and how it is served."""

    name: str
    config: Config
    kind: Kind = "online"
    batch_ms: int = 0
    settings: Mapping[str, JsonValue] = field(default_factory=dict)  # in which it differs from the others


def milliseconds(text: str) -> int:
    """Read a duration; 0 alone needs no unit.

    Raises:
        ValueError: it is none.

    >>> milliseconds("90m"), milliseconds("1d"), milliseconds("0")
    (5400000, 86400000, 0)
    """
    found = _DURATION.fullmatch(text.strip())
    if text.strip() == "0":
        return 0
    if found is None:
        raise ValueError(f"{text!r} is no duration: write such as 30s, 90m, 1h or 7d")
    return int(found[1]) * _UNIT_MS[found[2]]


def from_files(
    path: Path | None,
    others: Sequence[Path],
    environment: Mapping[str, str],
    every: Sequence[Combination] = (),
    *,
    by_key: bool = False,
) -> list[Candidate]:
    """Read configurations: the one that all are compared with, other files, and changes of the first one.

    One that learns by the same settings as one before it is left out.

    Args:
        path: a configuration file; None where the environment says everything.
        others: more of them.
        environment: as of `worker.settings.load`.
        every: combinations of settings that change the first one.
        by_key: whether shards are made of the records' keys.

    Raises:
        ConfigurationError: with every problem that was found, one a line.
    """
    base = Candidate(name=BASE, config=load(path, environment))
    found, problems = [base], list[str]()
    stems = Counter(other.stem for other in dict.fromkeys(others))
    for other in others:
        # A file is called the same whatever else is compared: by its path, unless its name alone tells it from all.
        name = other.stem if stems[other.stem] == 1 and other.stem != BASE else str(other)
        found.append(Candidate(name=_free(name, found), config=load(other, environment)))
    settings = dict.fromkeys(setting for combination in every for setting, _ in combination)
    problems += [
        f"--grid: {setting}: {unknown(at)}" for setting in settings if not exists(at := tuple(setting.split(".")))
    ]
    if problems:
        raise ConfigurationError("\n".join(problems))
    combined = list[Config]()
    for combination in every:
        name = " ".join(f"{setting.removeprefix('model.')}={value}" for setting, value in combination)
        try:
            config = read(path, environment, dict(combination), by="--grid").config
        except ConfigurationError as error:
            written = " ".join(f"{setting}={value}" for setting, value in combination)
            problems += [f"{line}\n  (of {written})" for line in str(error).splitlines()[:1]]
            continue
        combined.append(config)
        found.append(Candidate(name=_free(name, found), config=config))
    if problems:
        told = list(dict.fromkeys(problems))
        more = f"\nand {len(told) - _MOST_PROBLEMS} more combinations" if len(told) > _MOST_PROBLEMS else ""
        raise ConfigurationError(
            "\n".join(told[:_MOST_PROBLEMS])
            + more
            + "\nNothing has run: leave these values out, or change what they go with"
        )
    _require_effect(settings, combined, by_key=by_key)
    return distinct(found, by_key=by_key)


def distinct(found: Sequence[Candidate], *, by_key: bool = False) -> list[Candidate]:
    """Leave out what learns by the same settings as one before it, and say of each how it differs from the first.

    Args:
        found: the one that all are compared with comes first.
        by_key: whether shards are made of the records' keys.

    Raises:
        ConfigurationError: they cannot be compared, as they predict something else, or two have one name.
    """
    base, kept = found[0], dict[tuple[bytes, Kind, int], Candidate]()
    for one in found:
        _require_comparable(base, one, by_key=by_key)
        kept.setdefault((learned(one.config, by_key=by_key), one.kind, one.batch_ms), one)
    _require_names([one.name for one in kept.values()])
    before = _flat(base)
    return [
        Candidate(
            name=one.name, config=one.config, kind=one.kind, batch_ms=one.batch_ms,
            settings={name: value for name, value in _flat(one).items() if before.get(name) != value}
            | dict.fromkeys(sorted(before.keys() - _flat(one).keys())),
        )
        for one in kept.values()
    ]  # fmt: skip


def with_baselines(found: Sequence[Candidate], batches: Sequence[str], *, base_rate: bool) -> list[Candidate]:
    """Add the first configuration as it would do if it were retrained every so often, and the base rate.

    Args:
        found: the configurations.
        batches: from one training to the next, such as "1d".
        base_rate: whether that is added.

    Raises:
        ConfigurationError: what is said is no duration.
    """
    base, added = found[0], list[Candidate]()
    for text in dict.fromkeys(batches):
        try:
            batch_ms = milliseconds(text)
        except ValueError as error:
            raise ConfigurationError(f"--batch: {error}") from None
        if batch_ms < 1:
            raise ConfigurationError("--batch 0: a model that is retrained at every moment is one that learns online")
        name = _free(f"{base.name}, retrained every {text.strip()}", [*found, *added])
        added.append(Candidate(name=name, config=base.config, kind="batch", batch_ms=batch_ms))
    if base_rate:
        added.append(Candidate(name=_free("base rate", [*found, *added]), config=base.config, kind="base rate"))
    return [*found, *added]


def _require_effect(settings: Iterable[str], combined: Sequence[Config], *, by_key: bool) -> None:
    """Refuse a setting of a grid that changes nothing in any of its combinations: each would run in vain."""
    problems = []
    for setting in settings:
        reasons = [idle(setting, config, by_key=by_key) for config in combined]
        if all(reasons):
            problems.append(f"--grid: {setting}: {reasons[0]}: leave it out")
    if problems:
        raise ConfigurationError("\n".join(problems))


def _require_names(names: Sequence[str]) -> None:
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise ConfigurationError(f"two configurations are called {twice[0]}: give each a name of its own")


def _require_comparable(base: Candidate, other: Candidate, *, by_key: bool) -> None:
    one, two = base.config, other.config
    if one.model.loss != two.model.loss:
        raise ConfigurationError(
            f"{other.name}: has model.loss = {two.model.loss!r}, and {base.name} {one.model.loss!r}: losses of two "
            "kinds do not compare. Run a backtest of each"
        )
    differing = differing_events(one, two, by_key=by_key)
    if differing:
        raise ConfigurationError(
            f"{other.name}: {' and '.join(f'events.{name}' for name in differing)} "
            f"{'differs from that' if len(differing) == 1 else 'differ from those'} of {base.name}: "
            "they would not predict the same events. Compare configurations that agree about [events] (events.topic "
            "and events.start aside), or run a backtest of each"
        )
    if one.events.keep_negatives < 1 and one.model.seed != two.model.seed:
        raise ConfigurationError(
            f"{other.name}: has another model.seed than {base.name}, by which the negatives that events.keep_negatives "
            "keeps are drawn: they would not predict the same events. Leave model.seed as it is"
        )


def _flat(candidate: Candidate) -> dict[str, JsonValue]:
    told = changed(candidate.config.learning)
    if candidate.config.model.merge and candidate.config.commit.interval_seconds != 1.0:
        told["commit.interval_seconds"] = candidate.config.commit.interval_seconds
    return told


def _free(name: str, found: Sequence[Candidate]) -> str:
    """Give a name that none has."""
    names, number, free = {one.name for one in found}, 2, name
    while free in names:
        free, number = f"{name} ({number})", number + 1
    return free
