"""Why a record is not learned from."""

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """The closed set of reasons for which a record is rejected.

    Of several, one is given: what is wrong with the record as a whole, else with a type, else with a value, in the
    order label, weight, time, features.
    """

    TOMBSTONE = "tombstone"  # the record has a key and no value
    TOO_LARGE = "too_large"  # longer than events.max_bytes
    EMPTY = "empty"  # no bytes, or whitespace only
    INVALID_UTF8 = "invalid_utf8"
    TOO_DEEP = "too_deep"  # objects and lists nested deeper than 512
    NOT_JSON = "not_json"
    NOT_ARROW = "not_arrow"  # with packed events: no Arrow IPC stream, or one that is cut off or damaged
    NOT_OBJECT = "not_object"  # JSON, but a list, a string, a number ...
    WRONG_TYPE = "wrong_type"  # a field that is read holds another JSON type than its use allows
    LABEL_MISSING = "label_missing"
    LABEL_OUT_OF_RANGE = "label_out_of_range"  # of logistic loss: outside of 0 to 1
    WEIGHT_OUT_OF_RANGE = "weight_out_of_range"  # negative
    TIME_MISSING = "time_missing"  # neither the event nor its record has one
    TIME_TOO_EARLY = "time_too_early"  # before events.earliest_time
    TIME_TOO_LATE = "time_too_late"  # more than events.max_future_seconds after the record's timestamp
    NOT_FINITE = "not_finite"  # a number that is read is NaN, infinite, or beyond what it is stored in
    TOO_MANY_VALUES = "too_many_values"  # a list longer than the feature's max_values


@dataclass(frozen=True, kw_only=True)
class Rejected:
    """One record, or one event of a packed record, that is not learned from."""

    index: int  # its position in the records handed in
    reason: Reason
    detail: str  # for people: which field, which limit
    row: int | None = None  # of a packed record: which of its events, from 0; None for the record as a whole
    value: bytes | None = None  # that event as a record of its own
    events: int = 1  # that are rejected


class RejectError(Exception):
    """Raised on the way through a single record that is to be rejected; it never leaves this package."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
