"""What there is to set: the type of each setting by its name, and the nearest right name of a wrong one."""

import difflib
from collections.abc import Callable, Sequence
from typing import Final, Literal, get_args, get_origin

from pydantic import BaseModel

from worker.config import Config
from worker.learning import Feature

PREFIX: Final = "HEADRACE_"
PASSTHROUGH: Final = ("client", "consumer", "producer")  # the tables of [kafka] that are librdkafka's
At = tuple[str, ...]


def dotted(at: Sequence[str]) -> str:
    """Write a setting as the file does.

    >>> dotted(("kafka", "group"))
    'kafka.group'
    """
    return ".".join(at)


def variable(at: Sequence[str]) -> str:
    """Write a setting as the environment does.

    >>> variable(("kafka", "group"))
    'HEADRACE_KAFKA__GROUP'
    """
    return PREFIX + "__".join(at).upper()


def sections() -> dict[str, type[BaseModel]]:
    """Give the tables that hold settings by fixed names: all but `features`."""
    found = {name: field.annotation for name, field in Config.model_fields.items()}
    return {name: kind for name, kind in found.items() if isinstance(kind, type) and issubclass(kind, BaseModel)}


def exists(at: At) -> bool:
    """Tell whether there is such a setting; a whole table is none."""
    if len(at) == 3 and at[0] == "features" and at[1]:
        return at[2] in Feature.model_fields
    return len(at) == 2 and at[0] in sections() and at[1] in sections()[at[0]].model_fields and at[1] not in PASSTHROUGH


def is_text(at: At) -> bool:
    """Tell whether a setting that exists is a text or a choice of words, so that its value needs no quotes."""
    home = Feature if at[0] == "features" else sections()[at[0]]
    annotation = home.model_fields[at[-1]].annotation
    if get_origin(annotation) is dict:
        return False
    return annotation is str or get_origin(annotation) is Literal or str in get_args(annotation)


def unknown(at: At, write: Callable[[Sequence[str]], str] = dotted) -> str:
    """Say that there is no such setting, and which one was meant, written as `write` does.

    >>> unknown(("kafka", "bootstrp_servers"))
    'no such setting; did you mean kafka.bootstrap_servers?'
    >>> unknown(("metrics_port",), variable)
    'no such setting; did you mean HEADRACE_METRICS__PORT?'
    """
    tables: dict[str, type[BaseModel]] = {**sections(), "features": Feature}
    every = {dotted((table, name)): (table, name) for table, kind in sections().items() for name in kind.model_fields}
    head, leaf = at[:-1], at[-1]
    near: list[At] = []
    if at[0] in tables:
        if not head or (at[0] == "features" and len(at) == 2):
            return f"a table; set {write((*at, 'NAME'))}"
        near = [(*head, name) for name in difflib.get_close_matches(leaf, tables[at[0]].model_fields, 1)]
    elif head or write is dotted:
        near = [(name, *at[1:]) for name in difflib.get_close_matches(at[0], tables, 1)]
    near = near or [path for path in every.values() if path[1] == leaf]
    near = near or [every[name] for name in difflib.get_close_matches(dotted(at), every, 1, cutoff=0.75)]
    if near:
        return f"no such setting; did you mean {' or '.join(write(path) for path in near)}?"
    if at[0] in tables:
        return f"no such setting; {write(head)} has {', '.join(tables[at[0]].model_fields)}"
    return f"no such setting; the tables are {', '.join(sorted(tables))}"
