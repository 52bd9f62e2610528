"""Will it fit? Exact peaks over arrays of batch sizes, and the largest batch for a budget.

Live bytes at every event of a step are affine in the batch size, so the peak is the largest of
finitely many straight lines: found once for a model and schedule, then evaluated for any number of
batch sizes.
"""

from collections.abc import Sequence
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from memprop.engine.prepare import Model, batch_size
from memprop.engine.step import simulate
from memprop.errors import InvalidTypeError, InvalidValueError
from memprop.units import parse_bytes


def peak_bytes(
    model: Model, batch: SupportsIndex | NDArray[np.integer] | Sequence[int], **how: Any
) -> int | NDArray[np.int64]:
    """The peak of a step in bytes, for one batch size or an array of them.

    Args:
        model: what is trained.
        batch: a positive integer, or an array of them of any shape.
        how: ``schedule``, ``mode`` and ``optimizer`` as in :func:`memprop.simulate`.

    Returns:
        An integer, or an int64 array of the shape of ``batch``: what ``simulate(...).peak`` is for
        each, to the byte.
    """
    given: Any = batch
    if np.ndim(given) == 0:
        return int(_peaks(model, np.array(batch_size(given)), **how))
    return _peaks(model, np.asarray(given), **how)


def _peaks(model: Model, sizes: NDArray[np.integer], **how: Any) -> NDArray[np.int64]:
    if sizes.dtype.kind not in "iu":
        raise InvalidTypeError(f"batch must hold integers, got the dtype {sizes.dtype}")
    if sizes.size and sizes.min() < 1:
        raise InvalidValueError(f"batch must hold positive integers, got {sizes.min()}")
    constants, slopes = _lines(model, **how)
    peaks = np.zeros(sizes.shape, dtype=np.int64)
    for constant, slope in zip(constants.tolist(), slopes.tolist(), strict=True):
        np.maximum(peaks, constant + slope * sizes.astype(np.int64), out=peaks)
    return peaks


def max_batch(model: Model, budget: str | SupportsIndex, **how: Any) -> int:
    """The largest batch size whose peak stays within ``budget``; 0 if not even one sample fits.

    Args:
        model: what is trained.
        budget: bytes, or a text such as "2 GiB".
        how: ``schedule``, ``mode`` and ``optimizer`` as in :func:`memprop.simulate`.
    """
    room = parse_bytes(budget)
    constants, slopes = _lines(model, **how)
    if (constants[slopes == 0] > room).any():
        return 0
    growing = slopes > 0
    fits = (room - constants[growing]) // slopes[growing]
    return max(0, int(fits.min()))


def _lines(model: Model, **how: Any) -> tuple[np.ndarray, np.ndarray]:
    """Live bytes as lines over the batch size: constants and slopes, those that can be the peak.

    Two points make a line: the events are the same for every batch size.
    """
    one, two = (simulate(model, batch, **how).live.total for batch in (1, 2))
    slopes = two - one
    constants = one - slopes
    # Of lines with the same slope only the highest matters; then those below another for good.
    order = np.lexsort((-constants, -slopes))
    keep, highest = [], np.iinfo(np.int64).min
    for place in order.tolist():
        if constants[place] > highest:
            highest = constants[place]
            keep.append(place)
    return constants[keep], slopes[keep]
