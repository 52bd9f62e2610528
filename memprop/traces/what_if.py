"""What recomputing a cached intermediate would free, and cost: read off a trace."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from memprop.errors import InvalidTypeError
from memprop.traces.intermediates import Life, lives
from memprop.traces.passes import next_backward
from memprop.traces.trace import Trace

if TYPE_CHECKING:
    import pandas as pd

COLUMNS: Final = (
    *("variable", "site", "bytes_freed", "operations", "bytes_per_operation"),
    *("recompute", "needs", "keep_longer", "keep_longer_bytes", "reuses"),
)


def what_if(trace: Trace) -> "pd.DataFrame":
    """What would be saved by recomputing cached intermediates, the most bytes per operation first.

    A row says what happens if this one intermediate is dropped after its last use in forward and
    computed again just before backward reads it. Each row is about that variable alone. Columns:

    * ``bytes_freed``: its size, less what must be kept longer for it. They are free from its last
      use in forward until backward first reads it, and no longer: whether the peak of the step
      falls depends on where that is.
    * ``operations``: the FLOPs of the operators in ``recompute``; missing where the trace does not
      have those of one of them. 2mnk for a product of (m, k) and (k, n); what other operators count
      depends on where the trace is from.
    * ``recompute``: the operators to run again, in order: the one that made it and, where its
      operands are dead by then, those that made these.
    * ``needs``: what these read and is alive until then in any case. Where that is itself cached,
      it must not be recomputed too.
    * ``keep_longer``, ``keep_longer_bytes``: what they read, was made by no recorded operator, and
      dies too early.
    * ``reuses``: how often backward reads it.

    Left out are inputs, and values that no recorded operator made (random numbers, arrays filled
    by plain NumPy), as they cannot be computed again, those whose recomputation frees nothing, and
    those that are kept though backward never reads them. An operator that draws random numbers,
    such as dropout, must be given the same state of its generator again.

    Args:
        trace: of a training step: of the engine, the profiler, PyTorch or JAX, run or simulated.

    Raises:
        InvalidTypeError: ``trace`` is no Trace.
    """
    import pandas as pd

    if not isinstance(trace, Trace):
        raise InvalidTypeError(f"trace must be a Trace, such as prof.trace, got {trace!r}")
    table = pd.DataFrame(_rows(trace), columns=pd.Index(COLUMNS))
    table = table.astype({"operations": "Int64", "bytes_per_operation": "Float64"})
    return table.sort_values(
        "bytes_per_operation", ascending=False, kind="stable", ignore_index=True
    )


def _rows(trace: Trace) -> Iterator[tuple]:
    step = _Step(trace)
    number = {variable.name: index for index, variable in enumerate(trace.variables)}
    for found in trace.saved:
        life = step.lives.get(number[found.variable])
        if life is None or life.maker < 0:
            continue
        plan = step.plan(life)
        if plan is None:
            continue
        kept = sum(trace.variables[variable].bytes for variable in plan.keep_longer)
        if found.bytes <= kept:
            continue
        operations = step.operations(plan.recompute)
        yield (
            found.variable,
            found.site,
            found.bytes - kept,
            operations,
            None if operations is None else (found.bytes - kept) / operations,
            tuple(trace.operators[operator].name for operator in sorted(plan.recompute)),
            tuple(trace.variables[variable].name for variable in sorted(plan.needs)),
            tuple(trace.variables[variable].name for variable in sorted(plan.keep_longer)),
            kept,
            found.reuses,
        )


@dataclass(frozen=True)
class _Plan:
    """What it takes to compute a value again: numbers of operators and variables."""

    recompute: set[int] = field(default_factory=set)
    needs: set[int] = field(default_factory=set)
    keep_longer: set[int] = field(default_factory=set)


class _Step:
    """Who made what from what before backward began, and how long it lived."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        found = lives(trace)
        born = np.array([life.born for life in found], dtype=np.int64)
        begins = next_backward(trace, born).tolist()
        # What a schedule computes again itself has a second life, after backward has begun.
        first = [
            (life, begin) for life, begin in zip(found, begins, strict=True) if life.born < begin
        ]
        self.lives = {life.variable: life for life, _ in first}
        self.reads: defaultdict[int, list[Life]] = defaultdict(list)
        for life, begin in first:
            for event, operator, _ in life.reads:
                if event < begin:
                    self.reads[operator].append(life)

    def plan(self, life: Life) -> _Plan | None:
        """How to have the value of ``life`` again when backward first reads it, if it does."""
        if not life.reused_at:
            return None
        at, plan = life.reused_at[0], _Plan({life.maker})
        todo = [life.maker]
        while todo:
            for operand in self.reads[todo.pop()]:
                if operand.freed is None or operand.freed > at:
                    plan.needs.add(operand.variable)
                elif operand.maker < 0:
                    plan.keep_longer.add(operand.variable)
                elif operand.maker not in plan.recompute:
                    plan.recompute.add(operand.maker)
                    todo.append(operand.maker)
        return plan

    def operations(self, operators: set[int]) -> int | None:
        """FLOPs of these operators; ``None`` where those of one are not known."""
        flops = [self.trace.operators[operator].flops for operator in operators]
        known = [count for count in flops if count is not None]
        return max(1, sum(known)) if len(known) == len(flops) else None
