"""What a benchmark reports: a table of numbers, one to be read, and whether targets were met."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Verdict:
    """A target, what was found, and whether that meets it; ``None`` if nothing was measured."""

    target: str
    found: str
    met: bool | None


@dataclass(frozen=True, kw_only=True)
class Section:
    """The part of the report that one benchmark makes.

    Attributes:
        title: of the part.
        text: what is measured and what the figures contain.
        numbers: for the CSV, a row a measurement, in bytes and seconds.
        cells: texts, as they are to be read.
        verdicts: on the targets.
    """

    title: str
    text: str
    numbers: pd.DataFrame
    cells: pd.DataFrame
    verdicts: tuple[Verdict, ...]


def failed_section(title: str, reason: str) -> Section:
    """The report of a benchmark that could not be run to its end."""
    nothing = pd.DataFrame({"failed": [reason]})
    verdict = Verdict("runs to its end", reason, met=False)
    return Section(title=title, text="", numbers=nothing, cells=nothing, verdicts=(verdict,))


def at_most(target: str, limit: float, found: Sequence[float | None], form: str) -> Verdict:
    """Whether all that was ``found`` is at most ``limit``; ``form`` writes the largest."""
    known = [value for value in found if value is not None]
    return _verdict(target, [value <= limit for value in known], max(known, default=0), form)


def at_least(target: str, limit: float, found: Sequence[float | None], form: str) -> Verdict:
    """Whether all that was ``found`` is at least ``limit``; ``form`` writes the smallest."""
    known = [value for value in found if value is not None]
    return _verdict(target, [value >= limit for value in known], min(known, default=0), form)


def _verdict(target: str, met: Sequence[bool], worst: float, form: str) -> Verdict:
    if not met:
        return Verdict(target, "not measured", None)
    found = form.format(worst)
    if len(met) > 1:
        found += f" at worst; met by {sum(met)} of {len(met)}"
    return Verdict(target, found, all(met))
