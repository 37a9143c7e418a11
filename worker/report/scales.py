"""Where on an axis values and times stand, and what is written beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil, floor, log10
from typing import Final, Self

import numpy as np

_MS: Final = {"s": 1_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
_STEPS: Final = (
    *(one * power for power in (1, 10, 100) for one in (1, 2, 5)),
    *(one * _MS["s"] for one in (1, 2, 5, 10, 15, 30)), *(one * _MS["min"] for one in (1, 2, 5, 10, 15, 30)),
    *(one * _MS["h"] for one in (1, 2, 3, 6, 12)), *(one * _MS["d"] for one in (1, 2, 3, 7, 14, 28, 91, 182, 365)),
)  # fmt: skip
_CUT = 3.0  # so many times as far as nearly all values, and the few beyond are cut off
_MOST_TICKS = 5  # of time: so many fit into half a page


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A range of values or times, and the ticks within it."""

    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    cut: bool = False  # whether there are values beyond

    def at(self, value: float) -> float:
        """Give the place of a value: 0 at `low`, 1 at `high`."""
        return (value - self.low) / (self.high - self.low)

    @classmethod
    def of_values(cls, values: Sequence[float], *, floor_at: float | None = None, with_: Sequence[float] = ()) -> Self:
        """Cover values; where a few lie far beyond all others, those others.

        Args:
            values: what is drawn.
            floor_at: no value is below.
            with_: more that is to be seen, such as 1 of a calibration.
        """
        found = np.array([*values, *with_] or [0.0, 1.0])
        low, high = float(found.min()), float(found.max())
        inner_low, inner_high = (float(value) for value in np.quantile(found, (0.03, 0.97)))
        cut = len(found) > 20 and high - low > _CUT * (inner_high - inner_low) > 0
        if cut:
            room = (inner_high - inner_low) * 0.5
            low, high = max(low, inner_low - room), min(high, inner_high + room)
            low, high = min([low, *with_]), max([high, *with_])
        room = max((high - low) * 0.08, abs(high) * 0.005, 1e-6)
        low, high = low - room, high + room
        if floor_at is not None:
            low = max(low, floor_at)
        return cls(low=low, high=high, ticks=_number_ticks(low, high), cut=cut)

    @classmethod
    def of_times(cls, begin: int, end: int, *, relative: bool = False) -> Self:
        """Cover times, milliseconds since 1970, or since the beginning of each run."""
        end = max(end, begin + 1)
        step = next((one for one in _STEPS if (end - begin) / one <= _MOST_TICKS / (2 if one < _MS["s"] else 1)), None)
        if step is None:
            step = ceil((end - begin) / _MOST_TICKS / _STEPS[-1]) * _STEPS[-1]
        first = ceil(begin / step) * step
        ticks = [(float(time), span(time) if relative else _clock(time, step)) for time in range(first, end + 1, step)]
        return cls(low=begin, high=end, ticks=ticks)


def span(milliseconds: float) -> str:
    """Write a span of time.

    >>> span(0), span(15_000), span(90_000), span(5_400_000), span(172_800_000), span(250)
    ('0', '15 s', '1.5 min', '1.5 h', '2 d', '250 ms')
    """
    if not milliseconds:
        return "0"
    name, unit = next(((name, unit) for name, unit in reversed(_MS.items()) if milliseconds >= unit), ("ms", 1))
    return f"{milliseconds / unit:.4g} {name}"


def moment(milliseconds: float, *, precise: bool = True) -> str:
    """Write a time, whatever the year.

    >>> moment(1_735_689_600_000), moment(1_735_689_600_000, precise=False)
    ('2025-01-01 00:00:00 UTC', '2025-01-01 00:00 UTC')
    """
    try:
        return f"{datetime.fromtimestamp(milliseconds / 1_000, UTC):%Y-%m-%d %H:%M{':%S' if precise else ''} UTC}"
    except (ValueError, OverflowError, OSError):  # an event's clock may be off by any number of years
        return f"{np.datetime64(int(milliseconds), 'ms')}".replace("T", " ") + " UTC"


def _clock(time: int, step: int) -> str:
    try:
        when = datetime.fromtimestamp(time / 1_000, UTC)
    except (ValueError, OverflowError, OSError):
        return str(np.datetime64(time, "ms"))[:10]
    if step < _MS["s"]:
        return f"{when:%M:%S}.{time % 1_000:03d}"
    if step < _MS["min"]:
        return f"{when:%H:%M:%S}"
    if step < _MS["d"]:
        return f"{when:%d %b}" if time % _MS["d"] == 0 else f"{when:%H:%M}"
    return f"{when:%d %b}" if step < 28 * _MS["d"] else f"{when:%b %Y}"


def _number_ticks(low: float, high: float, most: int = 5) -> list[tuple[float, str]]:
    rough = (high - low) / most
    power = 10.0 ** floor(log10(rough))
    step = next(one * power for one in (1, 2, 5, 10) if one * power >= rough)
    digits = max(0, -floor(log10(step) + 1e-9))
    return [(at * step, _short(at * step, digits)) for at in range(ceil(low / step), floor(high / step) + 1)]


def _short(value: float, digits: int) -> str:
    return f"{value / 1e6:,.4g} M" if abs(value) >= 1e6 else f"{value:,.{digits}f}"
