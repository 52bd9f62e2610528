"""Will it fit? Exact peaks over arrays of batch sizes, and the largest batch for a budget.

Live bytes at every event of a step are affine in the batch size, so the peak is the largest of
finitely many straight lines: found once for a model and schedule, then evaluated for any number of
batch sizes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from memprop.checks import check_positive_integer
from memprop.engine.options import StepOptions
from memprop.engine.prepare import (
    Model,
    check_micro_batches,
    depends_on_batch,
    micro_batches_of,
    schedule_for,
)
from memprop.engine.step import predicted_trace
from memprop.errors import InfeasibleBudget, InvalidTypeError, InvalidValueError
from memprop.graph.optimizers import Optimizer
from memprop.schedules.schedule import Schedule
from memprop.units import parse_bytes


def peak_bytes(
    model: Model,
    batch: SupportsIndex | NDArray[np.integer] | Sequence[int],
    *,
    schedule: str | Schedule = "lean",
    mode: str = "train",
    optimizer: str | Optimizer | None = None,
    update: str = "at_end",
) -> int | NDArray[np.int64]:
    """The peak of a step in bytes, for one batch size or an array of them.

    Args:
        model: what is trained.
        batch: a positive integer, or an array of them of any shape.
        schedule: a name, or a schedule of your own.
        mode: "train" or "inference".
        optimizer: a name, or ``mp.Adam(1e-3)``.
        update: "at_end" or "in_backward".

    Returns:
        An integer, or an int64 array of the shape of ``batch``, of what ``simulate(...).peak`` is
        for each, to the byte.
    """
    options = StepOptions(schedule=schedule, mode=mode, optimizer=optimizer, update=update)
    given: Any = batch
    if mode == "train" and depends_on_batch(schedule):
        return _one_by_one(model, options, given)
    lines = lines_of(model, options)
    if np.ndim(given) == 0:
        return _peak(lines, check_positive_integer("batch", given))
    return _peaks(lines, np.asarray(given))


def max_batch(
    model: Model,
    budget: str | SupportsIndex,
    *,
    schedule: str | Schedule = "lean",
    mode: str = "train",
    optimizer: str | Optimizer | None = None,
    update: str = "at_end",
) -> int:
    """The largest batch size whose peak stays within ``budget``; 0 if not even one sample fits.

    Args:
        model: what is trained.
        budget: bytes, or a text such as "2 GiB".
        schedule: a name, or a schedule of your own.
        mode: "train" or "inference".
        optimizer: a name, or ``mp.Adam(1e-3)``.
        update: "at_end" or "in_backward".
    """
    room = parse_bytes(budget)
    options = StepOptions(schedule=schedule, mode=mode, optimizer=optimizer, update=update)
    if mode == "train" and depends_on_batch(schedule):
        return _largest(model, options, room)
    lines = lines_of(model, options)
    if any(constant > room for constant, slope, _ in lines.each if slope == 0):
        return 0
    rows = min((room - constant) // slope for constant, slope, _ in lines.each if slope > 0)
    return max(0, rows) * lines.micro_batches


def _one_by_one(model: Model, options: StepOptions, sizes: Any) -> Any:
    """The peaks under a schedule that is another one for every batch size."""
    if np.ndim(sizes) == 0:
        return schedule_for(model, options, check_positive_integer("batch", sizes)).peak
    peaks = [_one_by_one(model, options, size) for size in np.asarray(sizes).reshape(-1).tolist()]
    return np.array(peaks, dtype=np.int64).reshape(np.shape(sizes))


def _largest(model: Model, options: StepOptions, room: int) -> int:
    """The largest batch under such a schedule: doubled until it fails, then halved in between."""
    micro_batches = micro_batches_of(options.schedule)

    def fits(rows: int) -> bool:
        try:
            return _one_by_one(model, options, rows * micro_batches) <= room
        except InfeasibleBudget:
            return False

    low, high = 0, 1
    while fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low * micro_batches


class Line(NamedTuple):
    """Live bytes at one event of a step: ``constant + slope * samples of a micro-batch``."""

    constant: int
    slope: int
    event: int


@dataclass(frozen=True, slots=True)
class Lines:
    """The peak of a step as the highest of straight lines over the samples of a micro-batch.

    Attributes:
        each: those that can be highest, steepest first; the flatter, the higher is the constant.
        micro_batches: into how many micro-batches the step takes its batch.
    """

    each: list[Line]
    micro_batches: int


def lines_of(model: Model, options: StepOptions) -> Lines:
    """Live bytes as lines over the batch size, those that can be highest.

    The events are the same for every batch size, and two points make a line.
    """
    micro_batches = schedule_for(model, options).micro_batches
    one, two = (predicted_trace(model, rows * micro_batches, options).live.total for rows in (1, 2))
    slopes = two - one
    constants = one - slopes
    # Of two lines the one with both the smaller slope and the smaller constant is never higher.
    steepest_first = np.lexsort((-constants, -slopes)).tolist()
    kept: list[Line] = []
    for place in steepest_first:
        if not kept or constants[place] > kept[-1].constant:
            kept.append(Line(int(constants[place]), int(slopes[place]), place))
    return Lines(kept, micro_batches)


def _peak(lines: Lines, size: int) -> int:
    """The highest of ``lines`` at one batch size."""
    check_micro_batches(size, lines.micro_batches)
    peak = max(
        constant + slope * (size // lines.micro_batches) for constant, slope, _ in lines.each
    )
    if peak >= 2**63:
        raise InvalidValueError(f"a step of batch {size} would take more than 2^63 bytes")
    return peak


def _peaks(lines: Lines, sizes: NDArray[np.integer]) -> NDArray[np.int64]:
    """The highest of ``lines`` at each batch size."""
    if sizes.dtype.kind not in "iu":
        raise InvalidTypeError(f"batch must hold integers, got the dtype {sizes.dtype}")
    if not sizes.size:
        return np.zeros(sizes.shape, dtype=np.int64)
    if sizes.min() < 1:
        raise InvalidValueError(f"batch must hold positive integers, got {sizes.min()}")
    uneven = sizes[sizes % lines.micro_batches != 0]
    _peak(lines, int(uneven[0] if uneven.size else sizes.max()))  # raises if it is not known
    rows = sizes.astype(np.int64) // lines.micro_batches
    highest, starts = _envelope(lines)
    leading = np.searchsorted(starts, rows, side="right") - 1
    constants, slopes, _ = np.array(highest, dtype=np.int64).T
    return constants[leading] + slopes[leading] * rows


def _envelope(lines: Lines) -> tuple[list[Line], list[int]]:
    """Of ``lines`` those that are highest somewhere, flattest first, and the samples from which.

    A line is left out where a steeper one has caught up with it before it took the lead itself.
    """
    highest: list[Line] = []
    starts: list[int] = []
    for line in reversed(lines.each):
        start = 1
        while highest and (start := _catches_up(line, highest[-1])) <= starts[-1]:
            highest.pop()
            starts.pop()
            start = 1
        highest.append(line)
        starts.append(start)
    return highest, starts


def _catches_up(steep: Line, flat: Line) -> int:
    """The least number of samples for which the steeper of two lines is as high as the other."""
    return -((steep.constant - flat.constant) // (steep.slope - flat.slope))
