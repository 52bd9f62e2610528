"""Writing a report into a folder: Markdown, HTML, figures as PNG and SVG."""

import json
import os
from pathlib import Path
from typing import Any, Final

import matplotlib.pyplot as plt
from jinja2 import Environment, PackageLoader, StrictUndefined

from memprop.errors import DataError
from memprop.files import make_folder, write_whole
from memprop.report import plots
from memprop.report.build import Report, build_report
from memprop.report.facts import facts
from memprop.report.page.sweep import sweep_page
from memprop.sweep.examples import load_examples
from memprop.sweep.results import load_results, write_results
from memprop.sweep.spec import load_spec

SPEC: Final = "spec.toml"
ENVIRONMENT: Final = "environment.json"


def write_report(folder: str | os.PathLike[str]) -> Report:
    """Write tables, figures and pages of the sweep in ``folder`` from its stored results.

    Reads the results, ``spec.toml``, ``environment.json``, ``steps.zip`` and ``frontiers.csv``;
    writes ``results.csv``, ``results.parquet``, ``report.md``, ``report.html`` and ``figures/``.

    Raises:
        DataError: there are no results, or what belongs to them is missing.
        OutputError: the folder cannot be written.
    """
    folder = Path(folder)
    results = load_results(folder)
    report = build_report(
        load_spec(folder / SPEC, stored=True),
        results,
        _environment(folder / ENVIRONMENT),
        load_examples(folder),
    )
    write_results(results, folder)
    _write_figures(report, folder / "figures")
    write_whole(folder / "report.md", _markdown(report))
    spec_text = (folder / SPEC).read_text(encoding="utf-8")
    write_whole(folder / "report.html", sweep_page(report, spec_text))
    return report


def _environment(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}; run the sweep again") from None
    if not isinstance(found, dict) or not isinstance(found.get("command", []), list):
        raise DataError(f"{path} is damaged; run the sweep again")
    return {"command": [], **found}


def _write_figures(report: Report, folder: Path) -> None:
    make_folder(folder)
    for picture in report.pictures:
        plots.save(picture.figure, folder / picture.name)
        plt.close(picture.figure)


def _markdown(report: Report) -> str:
    templates = Environment(
        loader=PackageLoader("memprop.report"),
        autoescape=False,  # noqa: S701 - Markdown, not HTML
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = templates.get_template("report.md.j2")
    return template.render(report=report, facts=list(facts(report.environment)))
