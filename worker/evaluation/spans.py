"""How wide windows of time may be: each width is a whole number of the one before, so that neighbours join exactly."""

from typing import Final

_SECOND, _MINUTE, _HOUR, _DAY = 1_000, 60_000, 3_600_000, 86_400_000
WIDTHS_MS: Final = (
    1, 10, 100, _SECOND, 5 * _SECOND, 15 * _SECOND, _MINUTE, 5 * _MINUTE, 15 * _MINUTE, _HOUR, 3 * _HOUR, 6 * _HOUR,
    12 * _HOUR, _DAY, 7 * _DAY, 28 * _DAY, 364 * _DAY, 3_640 * _DAY,
)  # fmt: skip
_WIDER = 10  # beyond the last one
WIDEST_MS: Final = 1_000_000 * WIDTHS_MS[-1]  # two windows, before 1970 and after: wider, nothing is joined any more


def wider(width: int) -> int:
    """Give the next width, in milliseconds.

    >>> wider(60_000), wider(WIDTHS_MS[-1]) // WIDTHS_MS[-1]
    (300000, 10)
    """
    return next((one for one in WIDTHS_MS if one > width), _WIDER * width)
