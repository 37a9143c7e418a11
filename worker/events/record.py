"""The reference: what one record means. The columnar path must agree with it wherever it accepts a record.

A record is strict JSON (RFC 8259) in UTF-8, one object. Of a name given twice the last counts. A number beyond double,
NaN and Infinity (which some encoders write) reject a record only where they are read.
"""

import json

import numpy as np
import orjson

from worker.events.rejects import Reason, RejectError
from worker.events.screen import MAX_DEPTH, nesting

_WHITESPACE = b" \t\r\n"
_LONGEST_INTEGER = 20  # characters of a 64-bit integer; Python refuses to parse very long ones


def is_strict(value: bytes) -> bool:
    """Tell whether a record is JSON without NaN, Infinity and numbers beyond double."""
    try:
        orjson.loads(value)
    except orjson.JSONDecodeError:
        return False
    return True


def parse(value: bytes | None, max_bytes: int) -> dict[str, object]:
    """Parse one record; raise RejectError where it is no event."""
    if value is None:
        raise RejectError(Reason.TOMBSTONE, "no value")
    if len(value) > max_bytes:
        raise RejectError(Reason.TOO_LARGE, f"{len(value)} bytes; events.max_bytes is {max_bytes}")
    if not value.strip(_WHITESPACE):
        raise RejectError(Reason.EMPTY, f"{len(value)} bytes, none of them but whitespace" if value else "no bytes")
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        raise RejectError(Reason.INVALID_UTF8, f"byte {error.start}: {error.reason}") from error
    if len(value) > 2 * MAX_DEPTH:
        deepest, _ = nesting(np.frombuffer(value, np.uint8), 0, len(value))
        if deepest > MAX_DEPTH:
            raise RejectError(Reason.TOO_DEEP, f"nested {deepest} deep; the limit is {MAX_DEPTH}")
    try:
        record = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        record = _parse_loosely(text, str(error))
    if not isinstance(record, dict):
        raise RejectError(Reason.NOT_OBJECT, f"{type(record).__name__} where an object is expected")
    return record


def _parse_loosely(text: str, refusal: str) -> object:
    """Parse what orjson refused: it may be just a number beyond double, which comes out as an infinity."""
    try:
        record = json.loads(text, parse_int=_integer)
        json.dumps(record, ensure_ascii=False).encode()  # half a surrogate pair is no character
    except ValueError as error:  # JSONDecodeError and UnicodeEncodeError are among them
        raise RejectError(Reason.NOT_JSON, refusal) from error
    return record


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_INTEGER else float(digits)
