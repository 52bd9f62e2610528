"""Output of the commands: tables for people, JSON for machines."""

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from memprop.cli.chart import timeline
from memprop.traces.devices import rows_at_peaks
from memprop.traces.trace import Trace
from memprop.units import format_bytes
from memprop.version import __version__

MOST_ROWS = 40
_NEVER_FOLDED = 10
_WIDE = 90
"""Characters from which on the table of cached intermediates has its events."""


def version_line() -> str:
    """Name and version."""
    return f"memprop {__version__}"


def console() -> Console:
    """Where tables go: stdout, as wide as the terminal, or wide enough when piped."""
    piped = not sys.stdout.isatty()
    return Console(width=120 if piped else None, highlight=False, markup=False, emoji=False)


def print_json(document: Mapping[str, Any]) -> None:
    """Write one JSON document to stdout; JSON has no infinity and no NaN, they become null."""
    finite = {key: None if _is_endless(value) else value for key, value in document.items()}
    sys.stdout.write(json.dumps(finite, indent=2, allow_nan=False) + "\n")


def _is_endless(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A table whose first column is text and whose others are numbers.

    Where the screen is narrow, columns of long texts are folded and short ones, numbers, are not.
    """
    cells = [[str(cell) for cell in row] for row in rows]
    made = Table(title=title, title_justify="left", title_style="bold", show_edge=False)
    for place, name in enumerate(columns):
        longest = max((len(row[place]) for row in cells), default=0)
        made.add_column(
            name,
            justify="left" if place == 0 else "right",
            overflow="fold",
            no_wrap=longest <= _NEVER_FOLDED,
        )
    for row in cells:
        made.add_row(*row)
    return made


def document_of(trace: Trace, out: Path | None) -> dict[str, Any]:
    """The JSON document of a step, with the paths of the files that were written."""
    return {
        "peak": trace.peak,
        "peak_operator": trace.peak_operator,
        "peak_by_category": trace.peak_by_category(),
        "peak_by_device": {device: trace.on(device).peak for device in trace.devices},
        "saved_bytes": trace.saved_bytes,
        "saved_count": len(trace.saved),
        "intermediates": [found._asdict() for found in trace.saved],
        "out": None if out is None else str(out),
    }


def print_step(screen: Console, trace: Trace) -> None:
    """Print the timeline of a step, the buffers at its peak, and what it keeps for backward."""
    screen.print("", timeline(trace, screen), "", breakdown(trace), "")
    if len(trace.devices) > 1:
        columns = ("device", "peak", "bytes", "at")
        screen.print(table("Peaks by device", columns, rows_at_peaks(trace)), "")
    if trace.saved:
        screen.print(cached(trace, screen.width), "")


def breakdown(trace: Trace) -> Table:
    """A table of the buffers at the peak of a step."""
    rows = [
        (name.replace("_", " "), format_bytes(size), f"{size:,}", f"{size / trace.peak:.1%}")
        for name, size in trace.peak_by_category().items()
    ]
    rows.append(("total", format_bytes(trace.peak), f"{trace.peak:,}", "100.0%"))
    return table("What lives at the peak", ("category", "size", "bytes", "share"), rows)


def cached(trace: Trace, width: int) -> Table:
    """The cached intermediates of a step and who reuses them; if ``width`` allows, also when."""
    rows = [
        (
            found.variable,
            "x".join(map(str, found.shape)),
            format_bytes(found.bytes),
            found.saved_by,
            ", ".join(found.reused_by) or found.use,
            found.born,
            "-" if found.last_read is None else found.last_read,
            "-" if found.freed is None else found.freed,
        )
        for found in trace.saved
    ]
    total = f"{len(rows)} cached intermediates, {format_bytes(trace.saved_bytes)}"
    columns = ("variable", "shape", "size", "made by", "reused by", "born", "last read", "freed")
    if len(rows) > MOST_ROWS:
        rows = [*rows[: MOST_ROWS // 2], ("...",) * len(columns), *rows[-MOST_ROWS // 2 :]]
    if width < _WIDE:
        return table(total, columns[:5], [row[:5] for row in rows])
    return table(f"{total} (events are numbered as in the timeline)", columns, rows)
