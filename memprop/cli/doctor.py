"""``memprop doctor``: what this machine can measure, which BLAS kernels, what to set."""

from typing import Annotated, Any, Final

import typer

from memprop.cli import options


def doctor(
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Measure BLAS kernels anew, even if they were before.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Show what this machine can measure, which BLAS kernels suit it, and what to set.

    The exit status is 1 if there is a problem, 0 if there is none; notices are none.

    For example:

    memprop doctor --fresh
    """
    from memprop.cli.output import print_json
    from memprop.doctor.examine import examine
    from memprop.doctor.finding import PROBLEM

    found = examine(fresh=fresh)
    if as_json:
        print_json(_document(found))
    else:
        _print(found)
    if found.status == PROBLEM:
        raise typer.Exit(1)


def _document(found: Any) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "status": found.status,
        "findings": [asdict(finding) for finding in found.findings],
        "cpu": {**asdict(found.cpu), "flags": sorted(found.cpu.flags)},
        "blas": asdict(found.blas),
        "check": None if found.check is None else asdict(found.check),
    }


_STYLES: Final = {"good": "green", "notice": "yellow", "problem": "bold red"}


def _print(found: Any) -> None:
    from itertools import groupby

    from rich.table import Table
    from rich.text import Text

    from memprop.cli.output import console

    table = Table(show_header=False, show_edge=False)
    for name in ("section", "status", "finding"):
        table.add_column(name, no_wrap=name != "finding", overflow="fold")
    for section, findings in groupby(found.findings, key=lambda finding: finding.section):
        table.add_section()
        for place, finding in enumerate(findings):
            status = Text(finding.status, style=_STYLES[finding.status])
            do = Text(f"\n-> {finding.do}" if finding.do else "", style="bold")
            table.add_row("" if place else section, status, Text(finding.says) + do)
    console().print(table)
