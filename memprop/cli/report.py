"""``memprop report``: write a sweep's report again, or compare two sets of results."""

from pathlib import Path
from typing import Annotated, Any

import typer

from memprop.cli import options


def report(
    folder: Annotated[Path, typer.Argument(help="A folder that `memprop sweep` wrote.")],
    other: Annotated[
        Path | None, typer.Argument(help="Another one, to be compared with the first.")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(help="Write the comparison here, a row for each trial.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Write a sweep's report again, or compare two sets of results.

    Tables, figures and pages come from the stored results. Two sets are compared trial by trial:
    before and after a change, or two machines.

    For example:

    memprop report reports/depth_batch

    memprop report reports/before reports/after --csv difference.csv
    """
    from memprop.cli.output import print_json
    from memprop.errors import InvalidValueError
    from memprop.report.write import write_report

    if other is not None:
        _compare(folder, other, csv, as_json)
        return
    if csv is not None:
        raise InvalidValueError("--csv writes a comparison: name a second folder")
    written = write_report(folder)
    if as_json:
        document = {"folder": str(folder), "findings": list(written.findings)}
        print_json({**document, "steps_stored": written.examples.stored})
    else:
        print_report(written, folder)


def _compare(folder: Path, other: Path, csv: Path | None, as_json: bool) -> None:
    from memprop.cli.output import console, print_json, table
    from memprop.files import write_whole
    from memprop.report.comparison import cells, compare, summarize
    from memprop.sweep.results import load_results

    compared = compare(load_results(folder), load_results(other))
    findings = summarize(compared)
    if csv is not None:
        write_whole(csv, compared.to_csv(index=False))
    if as_json:
        import json

        rows = json.loads(compared.to_json(orient="records"))
        print_json({"first": str(folder), "second": str(other), "findings": findings, "rows": rows})
        return
    screen = console()
    screen.print(f"{folder} (first) and {other} (second)\n", style="bold")
    for finding in findings:
        screen.print(finding)
    differing = cells(compared)
    if len(differing):
        screen.print()
        rows = differing.itertuples(index=False)
        screen.print(table("Trials that differ", list(differing.columns), rows))


def print_report(written: Any, folder: Path) -> None:
    """The findings, and where the rest is."""
    from memprop.cli.output import console

    screen = console()
    screen.print(f"{written.title}\n", style="bold")
    for number, finding in enumerate(written.findings, start=1):
        screen.print(f"{number}. {finding}\n")
    if not written.examples.stored:
        screen.print(
            f"{folder} stores no single steps and no plans, so the report shows none. "
            f"`memprop sweep SPEC --out {folder}` stores them, and runs no trial again.\n"
        )
    screen.print(f"report: {folder / 'report.html'} (and report.md, results.csv, figures/)")
