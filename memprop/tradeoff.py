"""Memory against recomputation: one schedule for a batch size, or the whole curve."""

import math
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, SupportsIndex

from memprop.checks import check_positive_integer
from memprop.engine.options import StepOptions
from memprop.engine.prepare import Model, schedule_for
from memprop.engine.rates import Rates
from memprop.errors import InvalidTypeError, MempropError
from memprop.graph.optimizers import Optimizer
from memprop.schedules.schedule import Schedule

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("peak_bytes", "forward_flops_recomputed", "slowdown", "strategy", "disk_bytes")


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
    offload: str | os.PathLike[str] | None = None,
    rates: Rates | None = None,
) -> "pd.DataFrame":
    """The trade of memory for recomputation: the planner's curve and the named strategies.

    And for bytes on disk, where a folder is named: nothing is written to it.

    Args:
        model: what is trained.
        batch: samples per step.
        optimizer: a name, or ``mp.Adam(1e-3)``.
        update: "at_end" or "in_backward".
        offload: a folder; then there is a row for "offload:DIR".
        rates: what the machine does in a second, given or from :func:`memprop.measure_rates`. Only
            they tell how long what is moved to disk and back takes.

    Returns:
        A row for each strategy, by rising peak, of ``peak_bytes``, ``forward_flops_recomputed``,
        ``slowdown`` (FLOPs over those of "lean"), ``strategy`` and ``disk_bytes`` (the most that
        lies on disk at one time). The rows "budget:BYTES" are those of the curve that no other
        strategy beats that keeps all in memory. The slow-down of "offload:DIR" is the time of the
        FLOPs and of what is moved, one after the other, over that of the FLOPs; without ``rates``
        it is missing.

    Raises:
        InvalidTypeError: ``offload`` is no path, or ``rates`` are none.
    """
    import pandas as pd

    from memprop.schedules import budget

    _check_types(offload, rates)
    size = check_positive_integer("batch", batch)
    lean = schedule(model, size, optimizer=optimizer, update=update)
    rows = []
    for name in named(len({p.layer for p in lean.graph.parameters})):
        try:
            found = schedule(model, size, name, optimizer=optimizer, update=update)
        except MempropError:
            continue  # more slots than layers, or textbook where it makes no sense
        rows.append((found.peak, found.recomputed_flops, found.flops / lean.flops, name, 0))
    for point in budget.frontier(lean.graph, size):
        again = point.flops - lean.flops
        if not any(peak <= point.peak and flops <= again for peak, flops, *_ in rows):
            rows.append((point.peak, again, point.flops / lean.flops, f"budget:{point.peak}", 0))
    if offload is not None:
        name = f"offload:{os.fspath(offload)}"
        found = schedule(model, size, name, optimizer=optimizer, update=update)
        slowdown = _slowdown(found, lean, rates)
        rows.append((found.peak, 0, slowdown, found.name, found.disk_peak))
    return pd.DataFrame(sorted(rows), columns=list(COLUMNS))


def _check_types(offload: object, rates: object) -> None:
    if not isinstance(offload, str | os.PathLike | None):
        raise InvalidTypeError(f"offload must be a folder, such as 'scratch', got {offload!r}")
    if not isinstance(rates, Rates | None):
        raise InvalidTypeError(f"rates must be mp.measure_rates(DIR) or mp.Rates, got {rates!r}")


def _slowdown(found: Schedule, lean: Schedule, rates: Rates | None) -> float:
    """The time of a step that moves variables over that of "lean"; NaN where nothing is known."""
    if not found.moved_bytes:
        return 1.0
    if rates is None:
        return math.nan
    return rates.seconds(found.flops, found.moved_bytes) / rates.seconds(lean.flops)


def named(most: int) -> Iterator[str]:
    """Strategies with a name to compare with, their numbers doubling up to ``most``."""
    yield from ("textbook", "lean", "selective", "sqrt")
    number = 2
    while number <= most:
        yield f"every:{number}"
        yield f"revolve:{number}"
        number *= 2
