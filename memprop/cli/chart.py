"""The timeline of a step as bars of characters: a row for each stretch of events."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
from rich.console import Console
from rich.style import Style
from rich.text import Text

from memprop.terms import CATEGORIES
from memprop.traces.colors import CATEGORY_COLORS
from memprop.traces.downsample import downsample
from memprop.traces.trace import Trace
from memprop.units import format_bytes

MOST_STRETCHES: Final = 24
LETTERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "parameter": "P",
        "buffer": "B",
        "optimizer_state": "O",
        "input": "I",
        "activation": "A",
        "activation_gradient": "a",
        "parameter_gradient": "p",
        "workspace": "W",
        "communication": "C",
    }
)
"""What stands for a category where there is no colour; small letters are gradients."""
_LONGEST_NAME: Final = 24
_NARROWEST_BAR: Final = 16
_MARK: Final = " < peak"


def timeline(trace: Trace, screen: Console) -> Text:
    """Live bytes over the step, one line for each stretch of events, at its highest event.

    A line has the phase, the operator, a bar by category, and the live bytes. The bars are coloured
    blocks on a terminal with colours, and letters elsewhere. Lines are no wider than ``screen``;
    where it is narrow, the operators are left out.
    """
    blocks = _draws_blocks(screen)
    total = trace.live.total
    drawn = downsample(total, MOST_STRETCHES).tolist()
    labels = _labels(trace, drawn, screen.width)
    sizes = [f" {format_bytes(int(total[event])):>10}" for event in drawn]
    room = max(screen.width - len(labels[0]) - len(sizes[0]) - len(_MARK), 1)
    lines = [Text("Live bytes over the step", style="bold")]
    for event, label, size in zip(drawn, labels, sizes, strict=True):
        bar = _bar(trace.live.by_category[event], room / trace.peak, blocks=blocks)
        bar.pad_right(room - len(bar))
        mark = _MARK if event == trace.peak_event else ""
        lines.append(Text.assemble(label, bar, size, mark))
    return Text("\n").join([*lines, *_legend(trace, screen.width, blocks=blocks)])


def _draws_blocks(screen: Console) -> bool:
    # Sixteen colours are too few: two categories would look alike.
    colored = screen.color_system in ("256", "truecolor") and not screen.no_color
    return colored and screen.encoding.startswith("utf")


def _labels(trace: Trace, drawn: list[int], width: int) -> list[str]:
    """Phase and operator of each stretch, all of one length."""
    phases = _column([trace.phases[trace.events.phase[event]] for event in drawn])
    ran = [int(trace.events.operator[event]) for event in drawn]
    operators = _column([trace.operators[n].name if n >= 0 else "" for n in ran])
    labels = [f"{phase} {operator} " for phase, operator in zip(phases, operators, strict=True)]
    if width - len(labels[0]) < _NARROWEST_BAR + len(_MARK) + 11:
        return [f"{phase} " for phase in phases]
    return labels


def _column(names: list[str]) -> list[str]:
    """Names cut and padded to one length."""
    cut = [n if len(n) <= _LONGEST_NAME else f"{n[: _LONGEST_NAME - 2]}.." for n in names]
    return [name.ljust(max(map(len, cut))) for name in cut]


def _bar(live: np.ndarray, scale: float, *, blocks: bool) -> Text:
    """A bar of ``scale`` characters per byte, stacked by category."""
    bar, total, done = Text(), 0, 0
    for name in CATEGORY_COLORS:
        total += int(live[CATEGORIES.index(name)])
        # Rounding the running total, not the parts: the bar is as long as the sum asks for.
        upto = round(total * scale)
        bar.append_text(_cells(name, upto - done, blocks=blocks))
        done = upto
    return bar


def _cells(category: str, count: int, *, blocks: bool) -> Text:
    if blocks:
        return Text("\N{FULL BLOCK}" * count, style=Style(color=CATEGORY_COLORS[category]))
    return Text(LETTERS[category] * count)


def _legend(trace: Trace, width: int, *, blocks: bool) -> list[Text]:
    """Colour or letter of each category that occurs, in lines of at most ``width`` characters."""
    lines = [Text()]
    for name in CATEGORY_COLORS:
        if not trace.live.by_category[:, CATEGORIES.index(name)].any():
            continue
        entry = Text.assemble(_cells(name, 1, blocks=blocks), f" {name.replace('_', ' ')}  ")
        if lines[-1] and len(lines[-1]) + len(entry) > width:
            lines.append(Text())
        lines[-1].append_text(entry)
    return lines
