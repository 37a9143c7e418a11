"""Settings and their values, as `--grid` writes them, and every combination of them."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

from worker.errors import ConfigurationError

Combination = tuple[tuple[str, str], ...]  # settings by their dotted names, and their values as they are written
_OPENING, _CLOSING = "[{(", "]})"


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A setting, and the values that are tried."""

    setting: str
    values: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "Axis":
        """Read `setting=value,value`; commas inside quotes and brackets belong to a value.

        Raises:
            ConfigurationError: it is not written so.

        >>> Axis.parse('model.half_life=off,1d').values
        ('off', '1d')
        >>> Axis.parse('model.pairs=none,[["user","item"]]').values
        ('none', '[["user","item"]]')
        """
        setting, equals, listed = (part.strip() for part in text.partition("="))
        values = _split(listed)
        if not setting or not equals or not all(values):
            raise ConfigurationError(
                f"--grid {text}: is written as a setting and its values, such as --grid model.half_life=off,1d,7d"
            )
        if len(set(values)) < len(values):
            raise ConfigurationError(f"--grid {text}: names a value twice")
        return cls(setting=setting, values=tuple(values))


def combinations(axes: Sequence[Axis]) -> list[Combination]:
    """Give every combination of the values of all axes; the last one changes first.

    Raises:
        ConfigurationError: two of them are of the same setting.
    """
    names = [axis.setting for axis in axes]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigurationError(f"--grid {twice}: is given twice; write all of its values in one: {twice}=A,B,C")
    found = product(*([(axis.setting, value) for value in axis.values] for axis in axes))
    return [tuple(one) for one in found] if axes else []


def size(axes: Sequence[Axis]) -> int:
    """Count the combinations."""
    return prod(len(axis.values) for axis in axes) if axes else 0


def some(every: Sequence[Combination], limit: int, seed: int) -> list[Combination]:
    """Draw so many of them, each as likely as any other, in the order that they had; the same for the same seed."""
    if len(every) <= limit:
        return list(every)
    drawn = random.Random(seed).sample(range(len(every)), limit)  # noqa: S311 - nothing is secret
    return [every[number] for number in sorted(drawn)]


def _split(text: str) -> list[str]:
    parts, depth, quote = [""], 0, ""
    for sign in text:
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "\"'":
            quote = sign
        elif sign in _OPENING + _CLOSING:
            depth += 1 if sign in _OPENING else -1
        if sign == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += sign
    return [part.strip() for part in parts]
