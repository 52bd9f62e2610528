"""One step written into a folder: the trace, its tables and its figures."""

import os
from pathlib import Path

import matplotlib.pyplot as plt

from memprop.errors import OutputError
from memprop.report import plots
from memprop.report.page.step import step_page
from memprop.sweep.files import write_file
from memprop.traces.trace import Trace


def write_step(trace: Trace, folder: str | os.PathLike[str]) -> None:
    """Write ``trace.json.gz``, ``timeline.csv``, ``intermediates.csv``, ``step.html`` and figures.

    Raises:
        OutputError: the folder cannot be written.
    """
    folder = Path(folder)
    name = _title(trace)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        trace.save(folder / "trace.json.gz")
        trace.timeline().to_csv(folder / "timeline.csv", index=False)
        trace.intermediates().to_csv(folder / "intermediates.csv", index=False)
        write_file(folder / "step.html", step_page(name, trace))
        drawn = {"timeline": plots.styled(lambda: plots.timelines([(name, trace)]))}
        if trace.saved:
            drawn["lifetimes"] = plots.styled(lambda: plots.lifetimes(name, trace))
        for stem, figure in drawn.items():
            plots.save(figure, folder / stem)
            plt.close(figure)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        reason = error.strerror or error
        raise OutputError(f"cannot write into {os.fspath(folder)!r}: {reason}") from None


def _title(trace: Trace) -> str:
    """What ran: a schedule of memprop's own, or what the adapter of a framework says of it."""
    keys = (
        ("schedule", "batch") if "schedule" in trace.about else ("framework", "model", "function")
    )
    told = [
        f"batch {trace.about[key]}" if key == "batch" else str(trace.about[key])
        for key in keys
        if key in trace.about
    ]
    return ", ".join(told)
