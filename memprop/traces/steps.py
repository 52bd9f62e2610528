"""The steps of a training loop, a row each, and what they leave behind."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from memprop.terms import CATEGORIES

if TYPE_CHECKING:
    import pandas as pd

    from memprop.traces.trace import Trace


@dataclass(frozen=True, kw_only=True, slots=True)
class StepSummary:
    """The figures of one step of a loop, which remain when its trace is let go.

    Attributes:
        step: its number in the loop; the first is 0.
        peak_bytes: the largest live bytes.
        peak_operator: where that is.
        live_before_bytes: live bytes when it began.
        live_bytes: live bytes when it ended.
        saved_bytes: kept from forward to backward.
        seconds: how long it took; ``None`` where nothing was run.
        peak_by_category: category -> its bytes at the peak.
    """

    step: int
    peak_bytes: int
    peak_operator: str
    live_before_bytes: int
    live_bytes: int
    saved_bytes: int
    seconds: float | None
    peak_by_category: dict[str, int]

    @classmethod
    def of(cls, trace: "Trace", step: int) -> Self:
        """The figures of a trace, the ``step``-th of its loop."""
        live = trace.live.total
        began = np.flatnonzero(trace.events.phase != 0)  # the first phase is "setup"
        before = int(began[0]) - 1 if len(began) else len(live) - 1
        at = trace.events.nanoseconds
        return cls(
            step=step,
            peak_bytes=trace.peak,
            peak_operator=trace.peak_operator,
            live_before_bytes=int(live[before]) if before >= 0 else 0,
            live_bytes=int(live[-1]),
            saved_bytes=trace.saved_bytes,
            seconds=None if at[-1] < 0 else float(at[-1] - max(at[0], 0)) / 1e9,
            peak_by_category=trace.peak_by_category(),
        )


def steps_table(steps: Sequence[StepSummary]) -> "pd.DataFrame":
    """A row for each step of a loop.

    Columns: ``step``, ``peak_bytes``, ``peak_operator``, ``live_bytes`` (at the end of the step),
    ``growth_bytes`` (how many more that are than at the end of the row before, in the first row
    than at the step's beginning), ``saved_bytes``, ``seconds``, and ``peak_activation`` and so on,
    the peak by category.
    """
    import pandas as pd

    rows = []
    before = steps[0].live_before_bytes if steps else 0
    for one in steps:
        rows.append(
            {
                "step": one.step,
                "peak_bytes": one.peak_bytes,
                "peak_operator": one.peak_operator,
                "live_bytes": one.live_bytes,
                "growth_bytes": one.live_bytes - before,
                "saved_bytes": one.saved_bytes,
                "seconds": one.seconds,
                **{f"peak_{name}": one.peak_by_category[name] for name in CATEGORIES},
            }
        )
        before = one.live_bytes
    columns = ["step", "peak_bytes", "peak_operator", "live_bytes", "growth_bytes"]
    columns += ["saved_bytes", "seconds", *(f"peak_{name}" for name in CATEGORIES)]
    return pd.DataFrame(rows, columns=columns)


@dataclass(frozen=True, kw_only=True, slots=True)
class Survivor:
    """A buffer that is alive although the step that made it is over.

    Attributes:
        step: the number of the step that made it.
        bytes: its size.
        category: as of a variable.
        operator: the operator that made it; "" where that is not known.
        module: the path of the module; "" outside of all.
        line: file and line of the user's code; "" where that is not known.
    """

    step: int
    bytes: int
    category: str
    operator: str
    module: str
    line: str


def growth_table(survivors: Iterable[Survivor]) -> "pd.DataFrame":
    """What earlier steps have left, a row for each operator, module and line, the most bytes first.

    Columns: ``bytes``, ``count`` (of buffers), ``steps`` (how many steps have left some: one for
    what is made once, as a cache; about as many as ran for a leak), ``first_step``, ``category``,
    ``operator``, ``module``, ``line``.
    """
    import pandas as pd

    keys = ["category", "operator", "module", "line"]
    columns = ["bytes", "count", "steps", "first_step", *keys]
    rows = [
        {"bytes": s.bytes, "step": s.step, **{k: getattr(s, k) for k in keys}} for s in survivors
    ]
    if not rows:
        return pd.DataFrame(columns=columns)
    found = (
        pd.DataFrame(rows)
        .groupby(keys, sort=False)
        .agg(
            bytes=("bytes", "sum"),
            count=("bytes", "size"),
            steps=("step", "nunique"),
            first_step=("step", "min"),
        )
        .reset_index()
    )
    order = ["bytes", "first_step", "operator", "line"]
    found = found.sort_values(order, ascending=[False, True, True, True], ignore_index=True)
    return found[columns]
