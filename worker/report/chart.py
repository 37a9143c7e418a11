"""A line chart as inline SVG that is as wide as its place, drawn without a script, and sharp on paper.

Places along the width are percentages, those along the height pixels, and lines are stretched while their strokes are
not: so text never is, and one picture does for a phone, a desktop and a sheet of paper. Nothing of it needs an inline
style, which the page's policy would refuse.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Final

from worker.report.markup import Markup, join, tag
from worker.report.scales import Scale

HEIGHT: Final = 220  # pixels
_GRID = 10_000  # of the stretched lines: fine enough for any screen
_EDGE = 0.04  # of the width: labels nearer to an end begin or end there
MOST_FLAGS: Final = 40  # of one run in a chart


@dataclass(frozen=True, kw_only=True)
class Line:
    """A run in a chart: points in the order of x; y is None where there is no value."""

    run: int  # its number, which gives the colour
    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    gap: float = float("inf")  # points farther apart are not joined


@dataclass(frozen=True, kw_only=True)
class Flag:
    """Something that happened at x."""

    run: int
    x: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """What is drawn."""

    key: str  # of its data
    label: str  # for who does not see it
    x: Scale
    y: Scale
    lines: Sequence[Line]
    reference: float | None = None  # a value to hold all others against, such as 1 of a calibration
    diagonal: bool = False
    flags: Sequence[Flag] = ()

    def svg(self) -> Markup:
        """Draw it."""
        marks = [self._flag(flag) for flag in self.flags if self.x.low <= flag.x <= self.x.high]
        area = tag(
            "svg", *(self._grid(value) for value, _ in self.y.ticks), self._stretched(), *marks,
            class_="area", height=HEIGHT, width="100%", role="img", aria_label=self.label,
        )  # fmt: skip
        left = (
            tag("text", text, x=44, y=f"{self._down(value) + 4:.1f}", text_anchor="end") for value, text in self.y.ticks
        )
        below = (self._below(number, at, text) for number, (at, text) in enumerate(self.x.ticks))
        return tag(
            "div",
            tag("svg", *left, class_="left", width=52, height=HEIGHT, aria_hidden="true"),
            area,
            tag("svg", *below, class_="below", width="100%", height=20, aria_hidden="true"),
            class_="plot", data_chart=self.key, tabindex=0,
        )  # fmt: skip

    def _down(self, value: float) -> float:
        return HEIGHT * (1 - self.y.at(value))

    def _grid(self, value: float) -> Markup:
        y = f"{self._down(value):.1f}"
        return tag("line", class_="grid", x1=0, x2="100%", y1=y, y2=y)

    def _below(self, number: int, at: float, text: str) -> Markup:
        place = self.x.at(at)
        anchor = "start" if place < _EDGE else "end" if place > 1 - _EDGE else "middle"
        return tag(
            "text", text, x=f"{100 * place:.2f}%", y=15, text_anchor=anchor, class_="odd" if number % 2 else None
        )

    def _stretched(self) -> Markup:
        """Draw all lines; what leaves the range of y is cut off."""
        drawn = [self._path(line) for line in self.lines]
        if self.reference is not None and self.y.low <= self.reference <= self.y.high:
            y = self._place(self.y.at(self.reference))
            drawn.insert(0, tag("path", class_="reference", d=f"M0 {y}H{_GRID}"))
        if self.diagonal:
            points = [(value, value) for value in (self.x.low, self.x.high)]
            drawn.insert(0, tag("path", class_="reference", d="M" + "L".join(self._point(x, y) for x, y in points)))
        view = f"0 0 {_GRID} {_GRID}"
        return tag("svg", *drawn, viewBox=view, preserveAspectRatio="none", width="100%", height="100%")

    def _path(self, line: Line) -> Markup:
        drawn, alone, before = "", "", float("-inf")
        known = [(x, y) for x, y in zip(line.x, line.y, strict=True) if y is not None and isfinite(y)]
        for at, (x, y) in enumerate(known):
            begins = x - before > line.gap
            ends = at + 1 == len(known) or known[at + 1][0] - x > line.gap
            if begins or not at:
                drawn += f"M{self._point(x, y)}"
                if ends:
                    alone += f"M{self._point(x, y)}h0"  # a stroke without length is a dot
            else:
                drawn += f"L{self._point(x, y)}"
            before = x
        paths = (tag("path", class_=kind, d=d) for kind, d in (("line", drawn), ("dot", alone)) if d)
        return tag("g", *paths, class_=f"run s{line.run}")

    def _point(self, x: float, y: float) -> str:
        return f"{round(_GRID * self.x.at(x))} {self._place(self.y.at(y))}"

    @staticmethod
    def _place(y: float) -> int:
        return round(_GRID * min(max(1 - y, -9.0), 10.0))  # far beyond is as good as beyond

    def _flag(self, flag: Flag) -> Markup:
        x = f"{100 * self.x.at(flag.x):.2f}%"
        return tag(
            "g",
            tag("title", flag.text),
            tag("line", x1=x, x2=x, y1=0, y2=HEIGHT),
            tag("circle", cx=x, cy=3, r=3),
            class_=f"flag run s{flag.run}",
        )


def interval(low: float, high: float, value: float, scale: Scale) -> Markup:
    """Draw an interval and the value within it, with a line at 0."""
    places = {name: f"{100 * scale.at(at):.2f}%" for name, at in (("low", low), ("high", high), ("value", value))}
    zero = f"{100 * scale.at(0.0):.2f}%"
    return tag(
        "svg",
        join(
            tag("line", class_="grid", x1=zero, x2=zero, y1=0, y2=20),
            tag("line", class_="whisker", x1=places["low"], x2=places["high"], y1=10, y2=10),
            tag("circle", class_="point", cx=places["value"], cy=10, r=4),
        ),
        class_="interval", width="100%", height=20, aria_hidden="true",
    )  # fmt: skip
