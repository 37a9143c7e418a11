"""From a recorded row to an event: which column becomes which field, of which type, and what makes the label."""

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Self, get_args

from worker.errors import ConfigurationError

Type = Literal["string", "integer", "number", "boolean", "s", "ms", "us"]
Cell = Any  # str, int, float, bool, None, or a list of strings and integers: all that an event may hold

UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000}  # of an event's time, per second
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
_RULE = re.compile(
    r"""\s*(?P<column>[^<>=!'"]*[^<>=!'"\s])\s*(?P<comparison>>=|<=|==|!=|>|<)\s*"""
    r"""(?:(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)|'(?P<text>[^']*)')\s*"""
)
_TRUTHS = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False}


@dataclass(frozen=True, kw_only=True)
class LabelRule:
    """A comparison that makes the label: 1 where it holds, 0 where it does not.

    >>> LabelRule.parse("rating >= 4").label(3.5)
    0
    >>> LabelRule.parse("action == 'buy'").label("buy")
    1
    """

    column: str
    comparison: str
    value: float | str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `column comparison number`, or `column == 'text'` and `column != 'text'`.

        Raises `ConfigurationError` for anything else.
        """
        match = _RULE.fullmatch(text)
        if match is None or (match["text"] is not None and match["comparison"] not in ("==", "!=")):
            raise ConfigurationError(
                f"the label rule {text!r} cannot be read: write a column, one of >= <= == != > < and a number, "
                "such as rating>=4; or == and != with a 'text' in single quotes, such as action=='buy'"
            )
        value = match["text"] if match["number"] is None else float(match["number"])
        return cls(column=match["column"], comparison=match["comparison"], value=value)

    def label(self, cell: Cell) -> int:
        """Apply the rule; raises `ValueError` for a cell that cannot be compared."""
        if isinstance(self.value, float):
            cell = _number(cell)
        elif not isinstance(cell, str):
            raise ValueError(f"{_short(cell)} is not a text to compare with {self.value!r}")  # noqa: TRY004 - of a cell
        return int(_COMPARISONS[self.comparison](cell, self.value))


@dataclass(frozen=True, kw_only=True)
class EventMapping:
    """How a row becomes an event.

    Every column becomes the field of its own name, unless it is renamed. A rename and the label rule use their
    column up; map it once more to keep it (`rating = "rating"`).
    """

    sources: Mapping[str, str] = field(default_factory=dict)  # field of the event -> column of the file
    types: Mapping[str, Type] = field(default_factory=dict)  # field -> type; s, ms, us: a time, counted in that unit
    splits: Mapping[str, str] = field(default_factory=dict)  # field -> what its text is split at, into a list
    label: LabelRule | None = None
    only: tuple[str, ...] = ()  # the fields that are sent, besides the label of a rule; () is all

    def __post_init__(self) -> None:
        for name, kind in self.types.items():
            if kind not in get_args(Type):
                raise ConfigurationError(f"the type of {name!r} is one of {', '.join(get_args(Type))}, not {kind!r}")
            if name in self.splits:
                raise ConfigurationError(f"{name!r} has a type and is split into a list: leave one of the two out")
        for name, separator in self.splits.items():
            if not separator:
                raise ConfigurationError(f"{name!r} is split at nothing: name the separator, such as {name}=|")

    @property
    def columns(self) -> tuple[str, ...]:
        """Name the columns that a file must have for this mapping."""
        named = [*self.sources.values(), *(self.sources.get(name, name) for name in (*self.only, *self.types))]
        named += [self.sources.get(name, name) for name in self.splits]
        if self.label is not None:
            named.append(self.label.column)
        return tuple(dict.fromkeys(named))

    def targets(self, column: str) -> tuple[str, ...]:
        """Name the fields that a column becomes."""
        renamed = tuple(target for target, source in self.sources.items() if source == column)
        used_up = bool(renamed) or (self.label is not None and self.label.column == column)
        wanted = renamed if used_up or column in self.sources else (column,)
        return tuple(target for target in wanted if not self.only or target in self.only)


class Mapper:
    """Applies a mapping to row after row."""

    def __init__(self, mapping: EventMapping, *, label: str, time: str, time_unit: str) -> None:
        """Map to events whose label and time have these field names, and whose time counts in this unit."""
        self._mapping = mapping
        self._label = label
        self._time = time
        self._unit = UNITS[time_unit]
        self._steps: dict[str, tuple[tuple[str, Callable[[Cell], Cell]], ...]] = {}

    def event(self, row: Mapping[str, Cell]) -> dict[str, Cell]:
        """Make the event of a row: cells that are null, NaN or infinite are left out.

        Raises `ValueError` for a cell that does not fit, naming its column.
        """
        event: dict[str, Cell] = {}
        column = ""
        try:
            for column, cell in row.items():
                if cell is None or (type(cell) is float and not math.isfinite(cell)):
                    continue
                steps = self._steps.get(column)
                if steps is None:
                    steps = self._steps[column] = self._steps_of(column)
                for target, convert in steps:
                    # The most common case costs no call: a scalar that stays as it is.
                    event[target] = cell if convert is _plain and type(cell) in _SCALARS else convert(cell)
        except (ValueError, OverflowError) as error:
            raise ValueError(f"column {column!r}: {error}") from error
        return event

    def _steps_of(self, column: str) -> tuple[tuple[str, Callable[[Cell], Cell]], ...]:
        steps = [(target, self._converter(target)) for target in self._mapping.targets(column)]
        if self._mapping.label is not None and self._mapping.label.column == column:
            steps.append((self._label, self._mapping.label.label))
        return tuple(steps)

    def _converter(self, target: str) -> Callable[[Cell], Cell]:
        if target in self._mapping.splits:
            separator = self._mapping.splits[target]
            return lambda cell: _split(cell, separator)
        kind = self._mapping.types.get(target)
        if kind in UNITS:
            ticks = UNITS[kind]
            return lambda cell: _ticks(cell, ticks, self._unit)
        if kind is not None:
            return _CONVERTERS[kind]
        if target == self._time:
            return lambda cell: _time(cell, self._unit)
        return _plain


_SCALARS = frozenset({str, int, float, bool})


def _plain(cell: Cell) -> Cell:
    if isinstance(cell, str | int | float):
        return cell
    if isinstance(cell, list) and all(isinstance(value, str | int) for value in cell):
        return cell
    raise ValueError(
        f"{_short(cell)} is neither a text, a number, a boolean nor a list of texts and integers; "
        "leave the column out by naming the fields to send"
    )


def _string(cell: Cell) -> str:
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, int | float):
        return str(cell)
    raise ValueError(f"{_short(cell)} is not a text")


def _integer(cell: Cell) -> int:
    if isinstance(cell, str | int) or (isinstance(cell, float) and cell.is_integer()):
        try:
            return int(cell)
        except ValueError:
            pass
    raise ValueError(f"{_short(cell)} is not an integer")


def _number(cell: Cell) -> float:
    if isinstance(cell, str | int | float):
        try:
            number = float(cell)
        except ValueError:
            pass
        else:
            if math.isfinite(number):
                return number
    raise ValueError(f"{_short(cell)} is not a number")


def _boolean(cell: Cell) -> bool:
    truth = _TRUTHS.get(_string(cell).strip().lower())
    if truth is None:
        raise ValueError(f"{_short(cell)} is neither true nor false")
    return truth


def _split(cell: Cell, separator: str) -> list[str]:
    if isinstance(cell, list):
        return [_string(value) for value in cell]
    return [part for text in _string(cell).split(separator) if (part := text.strip())]


def _ticks(cell: Cell, ticks: int, unit: int) -> int:
    """Count a time that has `ticks` to the second in a unit of which there are `unit` to the second."""
    try:
        whole = _integer(cell)
    except ValueError:  # seconds with a fraction
        return round(_number(cell) * unit / ticks)
    return whole * unit // ticks


def _time(cell: Cell, unit: int) -> int:
    """Read a time: a number is already in the right unit, a text is ISO 8601 and UTC unless it names its zone."""
    try:
        return _integer(cell)
    except ValueError:
        pass
    if isinstance(cell, float):
        return round(cell)
    try:
        moment = datetime.fromisoformat(_string(cell).strip())
    except ValueError:
        raise ValueError(f"{_short(cell)} is neither a number nor a time such as 2025-01-31T12:00:00Z") from None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(microseconds=1) * unit // UNITS["us"]


_CONVERTERS: dict[str, Callable[[Cell], Cell]] = {
    "string": _string,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
}


def _short(cell: Cell) -> str:
    text = repr(cell)
    return text if len(text) <= 60 else f"{text[:57]}..."
