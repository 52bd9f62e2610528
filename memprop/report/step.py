"""One step written into a folder: the trace, its tables and its figures."""

import os
from pathlib import Path

import matplotlib.pyplot as plt

from memprop.files import make_folder, write_whole
from memprop.report import plots
from memprop.report.page.step import allocator_pictures, step_page
from memprop.traces.trace import Trace


def write_step(trace: Trace, folder: str | os.PathLike[str]) -> None:
    """Write ``trace.json.gz``, ``timeline.csv``, ``intermediates.csv``, ``step.html`` and figures.

    Raises:
        OutputError: the folder cannot be written.
    """
    folder = Path(folder)
    name = _title(trace)
    make_folder(folder)
    trace.save(folder / "trace.json.gz")
    write_whole(folder / "timeline.csv", trace.timeline().to_csv(index=False))
    write_whole(folder / "intermediates.csv", trace.intermediates().to_csv(index=False))
    of_allocator = allocator_pictures(trace)
    write_whole(folder / "step.html", step_page(name, trace, of_allocator))
    drawn = {"timeline": plots.styled(lambda: plots.timelines([(name, trace)]))}
    if trace.saved:
        drawn["lifetimes"] = plots.styled(lambda: plots.lifetimes(name, trace))
    drawn |= {picture.name: picture.figure for picture in of_allocator}
    for stem, figure in drawn.items():
        plots.save(figure, folder / stem)
        plt.close(figure)


def _title(trace: Trace) -> str:
    """What ran: a schedule of memprop's own, or what the adapter of a framework says of it."""
    keys = (
        ("schedule", "batch") if "schedule" in trace.about else ("framework", "model", "function")
    )
    parts = [
        f"batch {trace.about[key]}" if key == "batch" else str(trace.about[key])
        for key in keys
        if key in trace.about
    ]
    return ", ".join(parts)
