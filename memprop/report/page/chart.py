"""A chart of lines or points as data; ``charts.js`` draws it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["bytes", "count", "times"]
"""How the numbers of an axis are written: 64 MiB, 2,048, 1.25."""

_FIRST_HUE: Final = 210
_GOLDEN_ANGLE: Final = 137.5
"""Degrees; hues this far apart never come close to each other."""


@dataclass(frozen=True)
class Axis:
    """What an axis counts."""

    label: str
    kind: Kind


@dataclass(frozen=True)
class Point:
    """A point, with what is to be said of it beside its numbers.

    ``row`` is the row of the results that it stands for; ``None`` if it stands for none.
    """

    x: float
    y: float
    note: str = ""
    row: int | None = None


@dataclass(frozen=True)
class Line:
    """Points that belong together.

    Attributes:
        name: as the legend has it.
        points: in the order of x.
        hue: the colour, in degrees; its lightness is the page's.
        marker: which of the shapes of ``charts.js`` a point has; ``None`` for none.
        joined: how points are joined: "line", "dashed", "steps" or "" for not at all.
    """

    name: str
    points: tuple[Point, ...]
    hue: int
    marker: int | None = 0
    joined: Literal["", "line", "dashed", "steps"] = "line"


@dataclass(frozen=True)
class Panel:
    """One of several charts side by side, on the same axes."""

    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Chart:
    """A figure of one or more panels.

    ``log`` says which scale is shown first; the reader can have the other. Panels share the axis
    of y, and that of x where ``shared_x`` says so.
    """

    name: str
    title: str
    caption: str
    x: Axis
    y: Axis
    log: bool
    panels: tuple[Panel, ...]
    shared_x: bool = True


def ramp(count: int) -> Sequence[int]:
    """Hues for values that grow: from yellow-green over blue to purple."""
    return [80 + round(200 * place / max(1, count - 1)) for place in range(count)]


def apart(place: int) -> int:
    """The hue of the ``place``-th of many names that have no order."""
    return round(_FIRST_HUE + place * _GOLDEN_ANGLE) % 360
