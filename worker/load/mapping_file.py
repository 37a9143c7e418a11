"""The mapping as it is written: a TOML file, and the options of the command line that add to it."""

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worker.errors import ConfigurationError
from worker.load.mapping import EventMapping, LabelRule

_TABLES = ("map", "type", "split")  # field -> text
_NAMES = (*_TABLES, "label", "only")


def mapping_of(path: Path | None, given: Mapping[str, Any]) -> EventMapping:
    """Make the mapping of a file and of what is given besides.

    Args:
        path: a TOML file with the tables `map`, `type` and `split`, the text `label` and the list `only`; or None.
        given: the same names; a field that both name is taken from here.

    Raises:
        ConfigurationError: the file cannot be read, or says something else.
    """
    written = {} if path is None else _read(path)
    tables = {name: {**written.get(name, {}), **given.get(name, {})} for name in _TABLES}
    rule = given.get("label") or written.get("label")
    return EventMapping(
        sources=tables["map"],
        types=tables["type"],
        splits=tables["split"],
        label=None if rule is None else LabelRule.parse(rule),
        only=tuple(given.get("only") or written.get("only", ())),
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: the mapping file cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: not a TOML file: {error}") from error
    for name, value in values.items():
        if name not in _NAMES:
            near = difflib.get_close_matches(name, _NAMES, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(_NAMES)}"
            raise ConfigurationError(f"{path}: a mapping has no {name!r}; {hint}")
        if name in _TABLES and not (isinstance(value, dict) and all(isinstance(text, str) for text in value.values())):
            raise ConfigurationError(f'{path}: {name} must be a table of texts, such as [{name}] and below it a = "b"')
        if name == "label" and not isinstance(value, str):
            raise ConfigurationError(f'{path}: label must be a text such as "rating>=4"')
        if name == "only" and not (isinstance(value, list) and all(isinstance(text, str) for text in value)):
            raise ConfigurationError(f"{path}: only must be a list of texts")
    return values
