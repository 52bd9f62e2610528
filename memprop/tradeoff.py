"""Memory against recomputation: one schedule for a batch size, or the whole curve."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, SupportsIndex

from memprop.checks import check_positive_integer
from memprop.engine.options import StepOptions
from memprop.engine.prepare import Model, schedule_for
from memprop.errors import MempropError
from memprop.graph.optimizers import Optimizer
from memprop.schedules.schedule import Schedule

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("peak_bytes", "forward_flops_recomputed", "slowdown", "strategy")


def schedule(
    model: Model,
    batch: SupportsIndex,
    strategy: str | Schedule = "lean",
    *,
    optimizer: str | Optimizer | None = None,
    update: str = "at_end",
) -> Schedule:
    """The schedule of a training step, to look at or to hand to ``mp.trace`` and its like.

    Args:
        model: what is trained.
        batch: samples per step.
        strategy: a name such as "sqrt" or "budget:8MiB".
        optimizer: a name, or ``mp.Adam(1e-3)``.
        update: "at_end" or "in_backward".

    Raises:
        InfeasibleBudget: the budget is too small; the error names the smallest that is not.
    """
    size = check_positive_integer("batch", batch)
    options = StepOptions(schedule=strategy, optimizer=optimizer, update=update)
    return schedule_for(model, options, size)


def is_least(found: Schedule, budget: int) -> bool:
    """Whether ``found`` is shown to be the schedule of fewest FLOPs within ``budget`` bytes.

    Considered are all schedules that run each backward operator once, in the order of the graph,
    after the loss. ``False`` also where that is not known: only short networks are searched.
    """
    from memprop.schedules.search import search

    if found.micro_batches > 1 or found.batch is None:
        return False
    if not found.recomputed_flops:
        return True
    looked = search(found.graph, found.batch, budget, below=found.flops)
    return looked.complete and looked.order is None


def frontier(
    model: Model,
    batch: SupportsIndex,
    *,
    optimizer: str | Optimizer | None = None,
    update: str = "at_end",
) -> "pd.DataFrame":
    """The trade of memory for recomputation: the planner's curve and the named strategies.

    Args:
        model: what is trained.
        batch: samples per step.
        optimizer: a name, or ``mp.Adam(1e-3)``.
        update: "at_end" or "in_backward".

    Returns:
        A row for each strategy, by rising peak, of ``peak_bytes``, ``forward_flops_recomputed``,
        ``slowdown`` (FLOPs over those of "lean") and ``strategy``. The rows "budget:BYTES" are
        those of the curve that nothing else in the table beats.
    """
    import pandas as pd

    from memprop.schedules import budget

    size = check_positive_integer("batch", batch)
    lean = schedule(model, size, optimizer=optimizer, update=update)
    rows = []
    for name in named(len({p.layer for p in lean.graph.parameters})):
        try:
            found = schedule(model, size, name, optimizer=optimizer, update=update)
        except MempropError:
            continue  # more slots than layers, or textbook where it makes no sense
        rows.append((found.peak, found.recomputed_flops, found.flops / lean.flops, name))
    for point in budget.frontier(lean.graph, size):
        again = point.flops - lean.flops
        if not any(peak <= point.peak and flops <= again for peak, flops, *_ in rows):
            rows.append((point.peak, again, point.flops / lean.flops, f"budget:{point.peak}"))
    return pd.DataFrame(sorted(rows), columns=list(COLUMNS))


def named(most: int) -> Iterator[str]:
    """Strategies with a name to compare with, their numbers doubling up to ``most``."""
    yield from ("textbook", "lean", "selective", "sqrt")
    number = 2
    while number <= most:
        yield f"every:{number}"
        yield f"revolve:{number}"
        number *= 2
