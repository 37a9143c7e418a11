"""Elements of HTML and SVG as text. What is no element is escaped: no text can become markup, wherever it came from."""

from html import escape
from typing import Final

_VOID: Final = frozenset({"line", "path", "circle", "rect", "input", "br"})


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


Child = Markup | str | None


def tag(name: str, *children: Child, **attributes: str | float | bool | None) -> Markup:
    """Make an element.

    `class_` stands for `class`, and so on for what Python keeps for itself; `_` within a name for `-`. An attribute
    that is None or False is left out, True has no value.

    >>> tag("p", "a < b", tag("b", "!"), class_="soft", hidden=True, data_run=3)
    '<p class="soft" hidden data-run="3">a &lt; b<b>!</b></p>'
    """
    told = "".join(
        f" {_named(key)}" + ("" if value is True else f'="{escape(str(value))}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in _VOID:
        return Markup(f"<{name}{told}/>")
    return Markup(f"<{name}{told}>{join(*children)}</{name}>")


def join(*children: Child) -> Markup:
    """Put elements and texts one after the other."""
    return Markup("".join(one if isinstance(one, Markup) else escape(one) for one in children if one is not None))


def _named(key: str) -> str:
    return key.rstrip("_").replace("_", "-")
