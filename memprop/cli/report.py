"""``memprop report``: write the report of a sweep again from its stored results."""

from pathlib import Path
from typing import Annotated, Any

import typer

from memprop.cli import options


def report(
    folder: Annotated[Path, typer.Argument(help="A folder that `memprop sweep` wrote.")],
    as_json: options.Json = False,
) -> None:
    """Write a sweep's report again.

    Tables, figures and pages come from the stored results.

    For example:

    memprop report reports/depth_batch
    """
    from memprop.cli.output import print_json
    from memprop.report.write import write_report

    written = write_report(folder)
    if as_json:
        print_json({"folder": str(folder), "findings": list(written.findings)})
    else:
        print_report(written, folder)


def print_report(written: Any, folder: Path) -> None:
    """The findings, and where the rest is."""
    from memprop.cli.output import console

    screen = console()
    screen.print(f"{written.title}\n", style="bold")
    for number, finding in enumerate(written.findings, start=1):
        screen.print(f"{number}. {finding}\n")
    screen.print(f"report: {folder / 'report.html'} (and report.md, results.csv, figures/)")
