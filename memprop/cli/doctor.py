"""``memprop doctor``: what this machine can measure, which BLAS kernels, what to set."""

from typing import Annotated, Any

import typer

from memprop.cli import options


def doctor(
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Measure BLAS kernels anew, even if they were before.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Say what this machine can measure, which BLAS kernels suit it, and what to set.

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
        "check": None if found.check is None else found.check.to_json(),
    }


def _print(found: Any) -> None:
    from rich.table import Table
    from rich.text import Text

    from memprop.cli.output import console

    table = Table(title="This machine", title_justify="left", title_style="bold", show_edge=False)
    for name in ("", "status", "found", "what to do"):
        table.add_column(name, no_wrap=name in ("", "status"), overflow="fold")
    before = ""
    for finding in found.findings:
        if before and finding.section != before:
            table.add_section()
        section = finding.section if finding.section != before else ""
        status = Text(finding.status, style=_STYLES[finding.status])
        table.add_row(section, status, finding.says, finding.do)
        before = finding.section
    console().print(table)


_STYLES = {"good": "green", "notice": "yellow", "problem": "bold red"}
