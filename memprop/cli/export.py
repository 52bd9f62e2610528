"""``memprop export``: a saved trace in the format of another tool."""

from pathlib import Path
from typing import Annotated

import typer

from memprop.cli import options


def export(
    trace: Annotated[Path, typer.Argument(help="A file that Trace.save or --out wrote.")],
    to: Annotated[
        str,
        typer.Option(help="perfetto, memory_viz, speedscope, folded, parquet or openmetrics."),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The file to write; beside the trace if not given."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Write a saved trace for another tool.

    For example:

    memprop export step/trace.json.gz --to perfetto -o step.perfetto.json
    """
    from memprop.cli.output import console, print_json
    from memprop.files import write_whole
    from memprop.traces.exports.formats import FORMATS
    from memprop.traces.trace import Trace

    form = FORMATS[to]
    where = _beside(trace, form.suffix) if output is None else output
    data = form.encode(Trace.load(trace))
    write_whole(where, data)
    if as_json:
        print_json({"trace": str(trace), "format": to, "written": str(where), "bytes": len(data)})
    else:
        console().print(f"{where}: {to}, {len(data):,} bytes", soft_wrap=True)


def _beside(trace: Path, suffix: str) -> Path:
    """``step.json.gz`` gives ``step.perfetto.json``."""
    stem = trace.name.removesuffix(".gz").removesuffix(".json")
    return trace.with_name(stem + suffix)
