"""The page of a sweep."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Final

import pandas as pd

from memprop.report.build import Report
from memprop.report.facts import facts
from memprop.report.frames import are_few, as_if_measured, measured
from memprop.report.page.chart import Chart
from memprop.report.page.peaks import peak_charts, ratio_maps
from memprop.report.page.pictures import Inlined, inlined
from memprop.report.page.render import render_page
from memprop.report.page.steps import Steps, steps_of
from memprop.report.page.tradeoffs import tradeoff_chart, witness_charts

_DRAWN_HERE: Final = (
    *("peak_against", "ratio", "memory_against_recomputation", "witnesses"),
    *("timeline", "lifetimes"),
)
"""Figures, by how their names begin, that the page has in a form to be explored."""


def sweep_page(report: Report, spec_text: str) -> str:
    """One file of HTML with all that a sweep found; ``spec_text`` is its specification."""
    numbered = report.results.assign(row=range(len(report.results)))
    shown = as_if_measured(numbered) if report.spec.simulated else measured(numbered)
    steps = steps_of(report.examples, shown, len(numbered))
    charts = list(_charts(report, shown))
    return render_page(
        "report.html.j2",
        data={
            "charts": [asdict(chart) for chart in charts],
            "steps": [asdict(step) for step in steps.shown],
            "first": _middle(steps),
        },
        report=report,
        spec_text=spec_text,
        facts=list(facts(report.environment)),
        charts={chart.name: chart for chart in charts},
        maps=list(ratio_maps(shown)) if are_few(shown) else [],
        pictures=list(_pictures(report)),
        steps=steps,
    )


def _charts(report: Report, shown: pd.DataFrame) -> Iterator[Chart]:
    if are_few(shown):
        yield from peak_charts(shown)
    if report.planned is not None:
        yield tradeoff_chart(report.planned.table, report.planned.frontiers)
    if not report.spec.simulated and len(shown):
        yield from witness_charts(shown)


def _pictures(report: Report) -> Iterator[Inlined]:
    """The figures that the page does not draw itself."""
    for picture in report.pictures:
        if not picture.name.startswith(_DRAWN_HERE):
            yield inlined(picture)


def _middle(steps: Steps) -> int:
    """The step that is shown first: one of training, neither the smallest nor the largest."""
    places = [n for n, step in enumerate(steps.shown) if not step.group.startswith("inference")]
    return places[len(places) // 2] if places else 0
