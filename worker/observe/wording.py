"""Numbers as text for the status page. The page's script writes them the same way."""

from datetime import UTC, datetime
from math import isnan
from typing import Final

UNKNOWN: Final = "\N{EN DASH}"
_UNITS: Final = (("min", 60, "s", 1), ("h", 3_600, "min", 60), ("d", 86_400, "h", 3_600))  # of a duration, in seconds


def count(value: float | None) -> str:
    """Write a number of things, or of things a second.

    >>> count(1234567), count(12.4), count(3.21)
    ('1,234,567', '12', '3.2')
    """
    if value is None:
        return UNKNOWN
    return f"{value:,.1f}" if 0 < value < 10 and value != int(value) else f"{value:,.0f}"


def number(value: float | None) -> str:
    """Write a loss or a quotient.

    >>> number(0.57251), number(float("nan")) == UNKNOWN
    ('0.5725', True)
    """
    return UNKNOWN if value is None or isnan(value) else f"{value:.4f}"


def duration(seconds: float | None) -> str:
    """Write a duration in at most two units.

    >>> duration(0.42), duration(75), duration(7_260), duration(90_000)
    ('0.4 s', '1 min 15 s', '2 h 1 min', '1 d 1 h')
    """
    if seconds is None:
        return UNKNOWN
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{int(seconds)} s"
    name, big, small_name, small = next(unit for unit in reversed(_UNITS) if seconds >= unit[1])
    return f"{int(seconds // big)} {name} {int(seconds % big // small)} {small_name}"


def size(value: float | None) -> str:
    """Write a number of bytes.

    >>> size(512), size(3_500_000)
    ('512 B', '3.3 MiB')
    """
    if value is None:
        return UNKNOWN
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def moment(seconds: float | None) -> str:
    """Write a time, given in seconds since 1970.

    >>> moment(1_735_689_600), moment(1e300) == UNKNOWN
    ('2025-01-01 00:00:00 UTC', True)
    """
    if seconds is None:
        return UNKNOWN
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):  # a record's timestamp may be anything
        return UNKNOWN
