"""Numbers as a reader meets them."""

from math import isfinite
from typing import Final

UNKNOWN: Final = "\N{EN DASH}"
_MINUS = "\N{MINUS SIGN}"


def value(number: float | None) -> str:
    """Write a loss, a quotient or an area.

    >>> value(0.46189), value(1234.5), value(12345.6), value(None) == UNKNOWN, value(1e-7)
    ('0.4619', '1,234.5', '12,346', True, '1e-07')
    """
    if number is None or not isfinite(number):
        return UNKNOWN
    if number and abs(number) < 0.0005:
        return f"{number:.2g}".replace("-", _MINUS, 1) if number < 0 else f"{number:.2g}"
    digits = 4 if abs(number) < 100 else 1 if abs(number) < 10_000 else 0
    return f"{number:,.{digits}f}".replace("-", _MINUS)


def signed(number: float | None) -> str:
    """Write a difference.

    >>> signed(0.00123), signed(-0.5).replace(_MINUS, "-")
    ('+0.0012', '-0.5000')
    """
    told = value(number)
    return f"+{told}" if number is not None and number > 0 else told


def share(number: float | None) -> str:
    """Write a share as a percentage.

    >>> share(0.01234), share(0.00001234), share(3e-7), share(0.0), share(0.5)
    ('1.2 %', '0.0012 %', '<0.001 %', '0 %', '50 %')
    """
    if number is None or not isfinite(number):
        return UNKNOWN
    if 0 < abs(number) < 1e-5:
        return "<0.001 %"
    return f"{100 * number:.{2 if abs(number) < 1 else 3}g} %".replace("-", _MINUS)


def count(number: float | None) -> str:
    """Write how many there are.

    >>> count(1234567), count(None) == UNKNOWN
    ('1,234,567', True)
    """
    return UNKNOWN if number is None else f"{number:,.0f}"


def plural(number: int, one: str, many: str | None = None) -> str:
    """Write how many of what there are.

    >>> plural(1, "run"), plural(2, "run"), plural(0, "query", "queries")
    ('1 run', '2 runs', '0 queries')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"
