"""Will it fit? Exact peaks over arrays of batch sizes, and the largest batch for a budget.

Live bytes at every event of a step are affine in the batch size, so the peak is the largest of
finitely many straight lines: found once for a model and schedule, then evaluated for any number of
batch sizes.
"""

from collections.abc import Iterable, Sequence
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from memprop.checks import check_positive_integer
from memprop.engine.prepare import Model
from memprop.engine.step import simulate
from memprop.errors import InvalidTypeError, InvalidValueError
from memprop.graph.optimizers import Optimizer
from memprop.schedules.actions import Schedule
from memprop.traces.trace import Trace
from memprop.units import parse_bytes


def peak_bytes(
    model: Model,
    batch: SupportsIndex | NDArray[np.integer] | Sequence[int],
    *,
    schedule: str | Schedule = "lean",
    mode: str = "train",
    optimizer: str | Optimizer | None = None,
) -> int | NDArray[np.int64]:
    """The peak of a step in bytes, for one batch size or an array of them.

    Args:
        model: what is trained.
        batch: a positive integer, or an array of them of any shape.
        schedule: a name, or a schedule of your own.
        mode: "train" or "inference".
        optimizer: a name, or ``mp.Adam(1e-3)``.

    Returns:
        An integer, or an int64 array of the shape of ``batch``: what ``simulate(...).peak`` is for
        each, to the byte.
    """
    how = {"schedule": schedule, "mode": mode, "optimizer": optimizer}
    lines = _lines(simulate(model, size, **how) for size in (1, 2))
    given: Any = batch
    if np.ndim(given) == 0:
        return _peak(lines, check_positive_integer("batch", given))
    return _peaks(lines, np.asarray(given))


def _peak(lines: list[tuple[int, int]], size: int) -> int:
    """The highest of ``lines`` at one batch size."""
    peak = max(constant + slope * size for constant, slope in lines)
    if peak >= 2**63:
        raise InvalidValueError(f"a step of batch {size} would take more than 2^63 bytes")
    return peak


def _peaks(lines: list[tuple[int, int]], sizes: NDArray[np.integer]) -> NDArray[np.int64]:
    """The highest of ``lines`` at each batch size."""
    if sizes.dtype.kind not in "iu":
        raise InvalidTypeError(f"batch must hold integers, got the dtype {sizes.dtype}")
    if sizes.size and sizes.min() < 1:
        raise InvalidValueError(f"batch must hold positive integers, got {sizes.min()}")
    _peak(lines, int(sizes.max(initial=1)))  # the largest must be countable
    peaks = np.zeros(sizes.shape, dtype=np.int64)
    for constant, slope in lines:
        np.maximum(peaks, constant + slope * sizes.astype(np.int64), out=peaks)
    return peaks


def max_batch(
    model: Model,
    budget: str | SupportsIndex,
    *,
    schedule: str | Schedule = "lean",
    mode: str = "train",
    optimizer: str | Optimizer | None = None,
) -> int:
    """The largest batch size whose peak stays within ``budget``; 0 if not even one sample fits.

    Args:
        model: what is trained.
        budget: bytes, or a text such as "2 GiB".
        schedule: a name, or a schedule of your own.
        mode: "train" or "inference".
        optimizer: a name, or ``mp.Adam(1e-3)``.
    """
    room = parse_bytes(budget)
    how = {"schedule": schedule, "mode": mode, "optimizer": optimizer}
    lines = _lines(simulate(model, size, **how) for size in (1, 2))
    if any(constant > room for constant, slope in lines if slope == 0):
        return 0
    return max(0, min((room - constant) // slope for constant, slope in lines if slope > 0))


def _lines(traces: Iterable[Trace]) -> list[tuple[int, int]]:
    """Live bytes as lines ``(constant, slope)`` over the batch size, those that can be highest.

    Args:
        traces: of a step with batch sizes 1 and 2. The events are the same for every batch size,
            and two points make a line.
    """
    one, two = (trace.live.total for trace in traces)
    slopes = two - one
    constants = one - slopes
    # Of two lines the one with both the smaller slope and the smaller constant is never higher.
    steepest_first = np.lexsort((-constants, -slopes)).tolist()
    kept: list[tuple[int, int]] = []
    for place in steepest_first:
        if not kept or constants[place] > kept[-1][0]:
            kept.append((int(constants[place]), int(slopes[place])))
    return kept
