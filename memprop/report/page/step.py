"""The pages of one step, and of two side by side."""

from collections.abc import Iterator
from dataclasses import asdict

import pandas as pd

from memprop.report.page.render import render_page
from memprop.report.page.steps import single_step
from memprop.report.side_by_side import summarize
from memprop.terms import CATEGORIES
from memprop.traces.trace import Trace
from memprop.units import format_bytes


def step_page(title: str, trace: Trace) -> str:
    """One file of HTML with all that happened in a step."""
    return render_page(
        "step.html.j2",
        data={"steps": [asdict(single_step(title, trace))]},
        title=title,
        trace=trace,
        about=f"{format_bytes(trace.peak)} ({trace.peak:,} bytes) at the peak, at "
        f"{trace.peak_operator}; {format_bytes(trace.saved_bytes)} in {len(trace.saved)} "
        f"intermediates are kept for backward; {len(trace.events):,} events.",
        peak=_shares(trace),
    )


def _shares(trace: Trace) -> list[tuple[str, str, str, str]]:
    return [
        (name.replace("_", " "), format_bytes(size), f"{size:,}", f"{size / trace.peak:.1%}")
        for name, size in trace.peak_by_category().items()
    ]


def comparison_page(names: tuple[str, str], a: Trace, b: Trace, variables: pd.DataFrame) -> str:
    """One file of HTML with two steps side by side.

    Args:
        names: what the steps are called, of the files for example.
        a: the first step.
        b: the second.
        variables: by :func:`memprop.report.side_by_side.variables_side_by_side`.
    """
    steps = [single_step(name, trace) for name, trace in zip(names, (a, b), strict=True)]
    return render_page(
        "comparison.html.j2",
        data={
            "steps": [asdict(step) for step in steps],
            "top": max(a.peak, b.peak),
        },
        names=names,
        findings=summarize(a, b, variables),
        categories_compared=list(_categories(a, b)),
        variables=list(_cells(variables)),
        unchanged=int((variables["change"] == "same").sum()),
    )


def _categories(a: Trace, b: Trace) -> Iterator[tuple[str, ...]]:
    first, second = a.peak_by_category(), b.peak_by_category()
    rows = [(name.replace("_", " "), first[name], second[name]) for name in CATEGORIES]
    for name, in_a, in_b in [*rows, ("total", a.peak, b.peak)]:
        yield name, format_bytes(in_a), format_bytes(in_b), _signed(in_b - in_a)


def _cells(variables: pd.DataFrame) -> Iterator[tuple[str, ...]]:
    """The rows that differ, as texts."""
    for row in variables[variables["change"] != "same"].to_dict(orient="records"):
        yield (
            row["variable"],
            row["category"].replace("_", " "),
            row["change"],
            f"{row['a_bytes']:,}",
            f"{row['b_bytes']:,}",
            _signed(row["difference_bytes"]),
        )


def _signed(size: int) -> str:
    return f"{'-' if size < 0 else '+' if size else ''}{format_bytes(abs(size))}"
