"""The entries of an event back to the values that they were made from, for people to read."""

from itertools import product
from typing import Any

import pyarrow as pa

from worker.learning import Learning


def spell(learning: Learning, table: pa.Table) -> list[list[str]]:
    """Spell the values of one event, by field, in the order of its entries as `Features.encode` gives them.

    A category is its text, a number itself, bucketed or not; a combination is its parts, joined by " x ". The bias has
    an empty text.

    Args:
        learning: the features.
        table: one row, with the fields of `Decoded.table`.
    """
    (event,) = table.to_pylist()
    spelt = {
        name: _texts(event[learning.field_of(name)])
        for name, feature in learning.features.items()
        if feature.kind != "cross"
    }
    for name, feature in learning.features.items():
        if feature.kind == "cross":
            spelt[name] = [" x ".join(parts) for parts in product(*(spelt[part] for part in feature.of))]
    return [[""], *(spelt[name] for name in learning.features)]


def _texts(value: Any) -> list[str]:  # noqa: ANN401 - any JSON that a feature reads
    if value is None:
        return []
    if isinstance(value, list):
        return list(dict.fromkeys(_text(one) for one in value if one is not None))
    return [_text(value)]


def _text(value: object) -> str:
    """Write a value as its key reads it.

    >>> [_text(True), _text(7), _text(12.0), _text("u1")]
    ['true', '7', '12', 'u1']
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.15g}" if isinstance(value, float) else str(value)
