"""Times as people write and read them."""

from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST: Final = 2**63 - 1  # a timestamp of Kafka has 64 bits


def as_text(milliseconds: int) -> str:
    """Write a time, with milliseconds where it has some.

    >>> as_text(1_735_689_600_000), as_text(1_735_689_600_250)
    ('2025-01-01T00:00:00Z', '2025-01-01T00:00:00.250Z')
    """
    try:
        moment = _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:  # no clock says so, but a record may
        return f"{milliseconds} ms since 1970"
    precision = "milliseconds" if milliseconds % 1_000 else "seconds"
    return moment.isoformat(timespec=precision).replace("+00:00", "Z")


def to_milliseconds(text: str) -> int:
    """Read a time: milliseconds since 1970, or ISO 8601, which is UTC unless it names its zone.

    Raises `ValueError`.

    >>> to_milliseconds("2025-01-01"), to_milliseconds("2025-01-01T01:00:00+01:00"), to_milliseconds("1735689600000")
    (1735689600000, 1735689600000, 1735689600000)
    """
    if text.strip().isdecimal() and len(text.strip()) != len("20250101"):  # 20250101 is a date, and no time of 1970
        if len(text.strip().lstrip("0")) > len(str(_LAST)) or int(text) > _LAST:
            raise ValueError(f"{text!r} is later than any timestamp: milliseconds since 1970 have 64 bits")
        return int(text)
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(
            f"{text!r} is neither milliseconds since 1970 nor a time such as 2025-01-31T12:00:00Z"
        ) from None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(milliseconds=1)
