"""The page of a sweep."""

from dataclasses import asdict
from typing import Final

from memprop.report.build import Report
from memprop.report.facts import facts
from memprop.report.frames import as_if_measured, measured
from memprop.report.page.pictures import inlined
from memprop.report.page.render import render_page
from memprop.report.page.steps import Steps, steps_of

_EXPLORED: Final = ("timeline", "lifetimes")
"""Figures, by how their names begin, that the page has in a form to be explored."""


def sweep_page(report: Report, spec_text: str) -> str:
    """One file of HTML with all that a sweep found; ``spec_text`` is its specification."""
    numbered = report.results.assign(row=range(len(report.results)))
    shown = as_if_measured(numbered) if report.spec.simulated else measured(numbered)
    steps = steps_of(report.examples, shown, len(numbered))
    return render_page(
        "report.html.j2",
        data={"steps": [asdict(step) for step in steps.shown], "first": _middle(steps)},
        report=report,
        spec_text=spec_text,
        facts=list(facts(report.environment)),
        pictures=[
            inlined(picture)
            for picture in report.pictures
            if not picture.name.startswith(_EXPLORED)
        ],
        steps=steps,
    )


def _middle(steps: Steps) -> int:
    """The step that is shown first: one of training, neither the smallest nor the largest."""
    places = [n for n, step in enumerate(steps.shown) if not step.group.startswith("inference")]
    return places[len(places) // 2] if places else 0
