"""Which fields of an event are read, and which JSON types each may hold."""

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from worker.errors import ConfigurationError
from worker.events.rejects import Reason, RejectError
from worker.learning import Learning

_JSON_TYPES = {str: "string", int: "integer", float: "float", bool: "boolean", list: "list", dict: "object"}

Use = Literal["category", "list", "label", "number", "integer"]
_ACCEPTS: dict[Use, tuple[str, ...]] = {
    "category": ("string", "integer", "boolean"),
    "list": ("list",),
    "label": ("integer", "float", "boolean"),
    "number": ("integer", "float"),
    "integer": ("integer",),  # a category and a number at once
}
_TYPES: dict[Use, pa.DataType] = {
    "category": pa.string(),
    "list": pa.list_(pa.string()),
    "label": pa.float64(),
    "number": pa.float64(),
    "integer": pa.int64(),
}
_INTEGERS = range(-(2**63), 2**63)
_CATEGORY_INTEGERS = range(-(2**63), 2**64)  # unsigned identifiers too


@dataclass(frozen=True, kw_only=True)
class Column:
    """A field of the event that is read. Null and absence are accepted by every use."""

    name: str
    use: Use

    @property
    def type(self) -> pa.DataType:
        """Give the Arrow type that holds all that is accepted."""
        return _TYPES[self.use]

    def convert(self, value: object) -> object:
        """Bring a parsed JSON value to what its Arrow type holds; raise RejectError where it is not accepted."""
        if value is None:
            return None
        kind = _JSON_TYPES[type(value)]
        if kind not in _ACCEPTS[self.use]:
            raise RejectError(Reason.WRONG_TYPE, f"{self.name}: {kind} where {_one_of(self.use)} is expected")
        if self.use == "category":
            return self._text(value)
        if isinstance(value, list):
            return [None if element is None else self._text(element) for element in value]
        if self.use != "integer":
            return float(value)  # type: ignore[arg-type]
        if value in _INTEGERS:
            return value
        raise RejectError(Reason.WRONG_TYPE, f"{self.name}: an integer beyond 64 bits")

    def _text(self, value: object) -> str:
        if isinstance(value, str):
            return value
        if isinstance(value, bool):
            return "true" if value else "false"
        if not isinstance(value, int):
            kind = _JSON_TYPES[type(value)]
            raise RejectError(Reason.WRONG_TYPE, f"{self.name}: {kind} in a list of {_one_of('category')}")
        if value in _CATEGORY_INTEGERS:
            return str(value)
        raise RejectError(Reason.WRONG_TYPE, f"{self.name}: an integer beyond 64 bits; send it as a string")


def columns_of(learning: Learning, *, labelled: bool) -> dict[str, Column]:
    """Give the fields that are read, by name: those of features, and what only one of the two purposes needs.

    That is label, time, weight and id of events to learn from, and the partition key of those to score.

    A field may be read for several purposes; it then accepts what all of them accept, booleans excepted (true is 1
    as a label and "true" as a category). Raises ConfigurationError where nothing would be accepted.
    """
    uses: dict[str, set[Use]] = {}
    of_kind: dict[str, Use] = {"categorical": "category", "numeric": "number", "multi": "list"}
    for name, feature in learning.features.items():
        if feature.kind != "cross":
            uses.setdefault(learning.field_of(name), set()).add(of_kind[feature.kind])
    if labelled:
        events = learning.events
        uses.setdefault(events.label, set()).add("label")
        uses.setdefault(events.time, set()).add("number")
        if events.weight is not None:
            uses.setdefault(events.weight, set()).add("number")
        if events.id is not None:
            uses.setdefault(events.id, set()).add("category")
    else:
        uses.setdefault(learning.events.partition_key, set()).add("category")  # it tells which shard scores the event
    return {name: Column(name=name, use=_common_use(name, of)) for name, of in uses.items()}


def read_of(learning: Learning, columns: dict[str, Column]) -> list[str]:
    """Give those of the columns that are read after events were judged: by features, for an id or a partition key."""
    read = [name for name in columns_of(learning, labelled=False) if name in columns]
    identity = learning.events.id
    if identity is None or identity not in columns or identity in read:
        return read
    return [*read, identity]


def _common_use(field: str, uses: set[Use]) -> Use:
    if len(uses) == 1:
        return next(iter(uses))
    accepted = set.intersection(*(set(_ACCEPTS[use]) for use in uses))
    if "integer" not in accepted:
        raise ConfigurationError(
            f"event field {field!r} is read as {' and as '.join(sorted(uses))}: no value is both; use two fields"
        )
    return "number" if "float" in accepted else "integer"


def _one_of(use: Use) -> str:
    *most, last = _ACCEPTS[use]
    return f"{', '.join(most)} or {last}" if most else last
