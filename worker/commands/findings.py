"""How findings are shown: a line each for people, a list for machines."""

import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from worker.stream.topics import Finding

COLOURS: Final = {"ok": "green", "warn": "yellow", "fail": "red"}


def show(findings: "Sequence[Finding]", *, as_json: bool) -> None:
    """Print findings to standard output; colours only where that is a terminal."""
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2))
        return
    for finding in findings:
        level = click.style(f"{finding.level:<5}", fg=COLOURS[finding.level])
        click.echo(f"{level} {finding.subject}: {finding.message}")
        if finding.action:
            click.echo(f"      what to do: {finding.action}")
