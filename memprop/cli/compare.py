"""``memprop compare``: two saved traces side by side, what grew and what disappeared."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from memprop.cli import options


def compare(
    first: Annotated[Path, typer.Argument(help="A trace that was saved, step.json.gz.")],
    second: Annotated[Path, typer.Argument(help="Another one.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write a page to explore here, a .html.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Compare two saved traces: what grew and what disappeared.

    For example:

    memprop compare before.json.gz after.json.gz -o difference.html
    """
    from memprop.cli.output import print_json
    from memprop.files import write_whole
    from memprop.report.page.step import comparison_page
    from memprop.report.side_by_side import summarize, variables_side_by_side
    from memprop.traces.trace import Trace

    a, b = Trace.load(first), Trace.load(second)
    variables = variables_side_by_side(a, b)
    if out is not None:
        write_whole(out, comparison_page((str(first), str(second)), a, b, variables))
    categories = a.compare(b)
    if as_json:
        rows = {"categories": categories, "variables": variables}
        document = {name: json.loads(t.to_json(orient="records")) for name, t in rows.items()}
        print_json({"findings": summarize(a, b, variables), **document})
        return
    _print(a, b, variables)
    if out is not None:
        typer.echo(f"page: {out}")


def _print(a: Any, b: Any, variables: Any) -> None:
    from memprop.cli.output import MOST_ROWS, console, table
    from memprop.report.side_by_side import summarize
    from memprop.units import format_bytes

    screen = console()
    for finding in summarize(a, b, variables):
        screen.print(finding)
    first, second = a.peak_by_category(), b.peak_by_category()
    rows = [
        (name.replace("_", " "), format_bytes(size), format_bytes(second[name]))
        for name, size in first.items()
    ]
    screen.print("", table("What lives at the peak", ("category", "first", "second"), rows))
    changed = variables[variables["change"] != "same"].head(MOST_ROWS)
    cells = changed[["variable", "change", "a_bytes", "b_bytes", "difference_bytes"]]
    columns = ("variable", "change", "first", "second", "difference")
    rows = cells.itertuples(index=False)
    screen.print("", table("Bytes at the peak, by variable", columns, rows))
