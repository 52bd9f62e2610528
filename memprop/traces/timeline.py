"""The step as a table, a row per event."""

from typing import TYPE_CHECKING

import numpy as np

from memprop.terms import CATEGORIES
from memprop.traces.events import KINDS, READ

if TYPE_CHECKING:
    import pandas as pd

    from memprop.traces.trace import Trace


def timeline(trace: "Trace") -> "pd.DataFrame":
    """A row for each event.

    ``bytes`` is what an allocation adds to the live bytes and a free takes off (0 where the
    variable shares a buffer that stays alive), and for a read the size of what is read; so
    ``live_bytes`` is the running sum of the one less the other. One column per category splits
    ``live_bytes`` up. ``seconds`` counts from the start of the step; it is missing where nothing
    was run.
    """
    import pandas as pd

    events, live = trace.events, trace.live
    size = np.array([variable.bytes for variable in trace.variables], dtype=np.int64)
    operators = np.array([*(operator.name for operator in trace.operators), ""], dtype=object)
    variables = np.array([variable.name for variable in trace.variables], dtype=object)
    reads = events.kind == READ
    seconds = np.where(events.nanoseconds < 0, np.nan, events.nanoseconds * 1e-9)
    return pd.DataFrame(
        {
            "event": np.arange(len(events)),
            "kind": np.array(KINDS, dtype=object)[events.kind],
            "phase": np.array(trace.phases, dtype=object)[events.phase],
            "operator": operators[events.operator],
            "variable": variables[events.variable],
            "bytes": np.where(reads, size[events.variable], np.abs(live.moved)),
            "live_bytes": live.total,
            "seconds": seconds,
            **dict(zip(CATEGORIES, live.by_category.T, strict=True)),
        }
    )
