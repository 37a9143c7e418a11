"""Reads a Dockerfile, as far as ours goes."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Stage:
    """The instructions of a stage, in their order; variables that ENV sets in it and in those that it begins from."""

    name: str
    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)


def stages(path: Path, architecture: str) -> dict[str, Stage]:
    """Give the stages by name, "" being the one that becomes the image."""
    found: dict[str, Stage] = {}
    stage = None
    for word, rest in _instructions(path.read_text(encoding="utf-8")):
        if word == "FROM":
            base, *name = rest.replace("${TARGETARCH}", architecture).split(" AS ")
            stage = found[name[0] if name else ""] = Stage(name[0] if name else "", base)
        elif stage is not None:
            stage.steps.append((word, rest))
    return found


def variables(found: dict[str, Stage], name: str) -> dict[str, str]:
    """Give what ENV has set at the end of a stage."""
    stage = found[name]
    told = variables(found, stage.base) if stage.base in found else {}
    for word, rest in stage.steps:
        if word == "ENV":
            told |= dict(pair.split("=", 1) for pair in shlex.split(rest))
    return told


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        if line.strip():
            word, _, rest = line.partition(" ")
            yield word, rest.strip()
