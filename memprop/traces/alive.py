"""What lives at one moment of a step, as a table."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from memprop.traces.trace import Trace

_COLUMNS = [
    "bytes",
    "variable",
    "category",
    "shape",
    "dtype",
    "phase",
    "operator",
    "module",
    "line",
]


def alive_table(trace: "Trace", event: int = -1) -> "pd.DataFrame":
    """A row for each buffer that is alive after an event, the most bytes first.

    Columns: ``bytes``, ``variable``, ``category``, ``shape``, ``dtype``, ``phase`` and ``operator``
    in which it was made ("setup" if it was there before), ``module``, ``line`` of the user's
    program ("" where that is not known). The bytes sum to the live bytes.

    Args:
        trace: of the step.
        event: its number; the last one if not given.
    """
    import pandas as pd

    at = range(len(trace.events))[event]
    rows = []
    for buffer in trace.buffers_at(at):
        variable = trace.variables[buffer.variable]
        rows.append(
            {
                "bytes": buffer.bytes,
                "variable": variable.name,
                "category": variable.category,
                "shape": "x".join(map(str, variable.shape)),
                "dtype": variable.dtype,
                "phase": trace.phases[trace.events.phase[buffer.born]],
                "operator": trace.operator_at(buffer.born),
                "module": variable.site,
                "line": variable.line,
            }
        )
    table = pd.DataFrame(rows, columns=_COLUMNS)
    return table.sort_values("bytes", ascending=False, kind="stable", ignore_index=True)
