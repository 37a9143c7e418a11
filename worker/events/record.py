"""The reference: what one record means. The scanner must agree with it wherever it accepts a record.

A record is strict JSON (RFC 8259) in UTF-8, one object. Of a name given twice the last counts. A number beyond double,
NaN and Infinity (which some encoders write) reject a record only where they are read.
"""

import json

import numpy as np
import orjson
from numba import njit
from numpy.typing import NDArray

from worker.events.rejects import Reason, RejectError

MAX_DEPTH = 512  # of nested objects and lists; deeper is no event, and parsers differ in what they make of it
_WHITESPACE = b" \t\r\n"
_QUOTE, _BACKSLASH, _OPENS, _CLOSES = 0x22, 0x5C, (0x5B, 0x7B), (0x5D, 0x7D)
_LONGEST_INTEGER = 20  # characters of a 64-bit integer; Python refuses to parse very long ones


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
        deepest = nesting(np.frombuffer(value, np.uint8))
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


@njit(cache=True, nogil=True)
def nesting(data: NDArray[np.uint8]) -> int:
    """Measure how deep a text nests, if it is JSON."""
    depth = deepest = i = 0
    while i < len(data):
        c = data[i]
        if c == _QUOTE:
            i += 1
            while i < len(data) and data[i] != _QUOTE:
                i += 2 if data[i] == _BACKSLASH else 1
        elif c in _OPENS:
            depth += 1
            deepest = max(deepest, depth)
        elif c in _CLOSES:
            depth -= 1
        i += 1
    return deepest
