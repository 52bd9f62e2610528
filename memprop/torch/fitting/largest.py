"""The largest batch whose training steps fit into a budget, of any PyTorch model."""

from collections.abc import Callable, Iterable
from typing import Final, SupportsIndex

import torch

from memprop.errors import MempropError
from memprop.torch.fitting.job import Job, Make, Tried
from memprop.torch.inputs import Loss
from memprop.torch.task import Optimizer
from memprop.units import parse_bytes

MOST_SIMULATIONS: Final = 10
_FIRST: Final = 8
_BY_PEAKS: Final = 5
"""After so many trials what is left is halved."""
USABLE: Final = 0.98
"""Not all of a limit can be used: some of it lies in blocks that nothing fits into."""
_FINE: Final = 200
"""The largest batch is found to one sample, or to this fraction of it."""


def max_batch(
    make: Make,
    budget: str | SupportsIndex,
    *,
    loss: Loss | None = None,
    optimizer: Optimizer | None = None,
    mode: str = "train",
    autocast: torch.dtype | None = None,
    micro_batches: int = 1,
    warmup: int = 2,
    device: str = "cuda",
    gpu: str = "h100",
    settings: str = "",
) -> int:
    """The largest batch whose steps fit into ``budget``; 0 if not even one sample does.

    Up to ten batches are simulated, none is run. On CUDA the budget is that of the allocator, as
    ``torch.cuda.set_per_process_memory_fraction`` sets it; the CUDA context is not in it. A batch
    fits if every request of all its steps is served, if need be after unused segments were given
    back.

    Args:
        make: called with a batch size; returns a module and its inputs, and after them the target
            if the loss has one, and the optimizer if it is not made by ``optimizer``.
        budget: bytes, or a text such as "24 GiB".
        loss: as in :func:`memprop.torch.simulate`, as all that follow but the last.
        optimizer: an optimizer's class, or a function that makes one of the parameters.
        mode: "train" or "inference".
        autocast: the type of :class:`torch.autocast`.
        micro_batches: how often forward and backward run before the optimizer does.
        warmup: steps before the last one, which must fit as well.
        device: where, as "cuda" or "cpu".
        gpu: which GPU, if it is one.
        settings: of CUDA's allocator, as in PYTORCH_CUDA_ALLOC_CONF.

    Raises:
        MempropError: an argument is wrong, or a step cannot be simulated.

    >>> from torch import nn
    >>> def make(batch):
    ...     return nn.Linear(1000, 1000), torch.empty(batch, 1000)
    >>> max_batch(make, "64 MiB", device="cpu")
    7025
    """
    options = {
        "loss": loss,
        "optimizer": optimizer,
        "mode": mode,
        "autocast": autocast,
        "micro_batches": micro_batches,
        "warmup": warmup,
        "device": device,
        "gpu": gpu,
    }
    job = Job(make=make, limit=parse_bytes(budget), settings=settings, options=options)
    return largest(job.tried, job.limit)


def largest(tried: Callable[[int], Tried], limit: int) -> int:
    """The largest batch that fits, by at most ten trials; 0 if none does."""
    return most_that_fits(search(tried, limit, [tried(_FIRST)], MOST_SIMULATIONS - 1))


def most_that_fits(trials: Iterable[Tried]) -> int:
    """The largest batch that fits of those tried; 0 if none does."""
    return max((one.batch for one in trials if one.fits), default=0)


def least_that_does_not(trials: Iterable[Tried]) -> int | None:
    """The smallest batch of those tried that does not fit; ``None`` if all do."""
    return min((one.batch for one in trials if not one.fits), default=None)


def search(
    tried: Callable[[int], Tried], limit: int, known: Iterable[Tried], more: int
) -> list[Tried]:
    """Trials around the largest batch that fits, those that are known included.

    Peaks are nearly affine in the batch, so two of them say where the limit is; what is left is
    halved.

    Args:
        tried: tries a batch.
        limit: bytes.
        known: at least one trial.
        more: how many more there may be.
    """
    trials = list(known)
    for _ in range(more):
        within, beyond = around(trials, limit)
        if beyond is not None and beyond.batch - within.batch <= max(1, within.batch // _FINE):
            break
        found = _tried(tried, _next(trials, within, beyond, limit))
        if any(found.batch == one.batch for one in trials):
            break  # there is no smaller one
        trials.append(found)
    return trials


def around(trials: Iterable[Tried], limit: int) -> tuple[Tried, Tried | None]:
    """The largest batch that fits, and the smallest that does not.

    Where none fits, the first is a batch of no samples. It is known without a trial what that
    needs: what does not depend on the batch.
    """
    trials = list(trials)
    within = max((one for one in trials if one.fits), key=_batch, default=None)
    beyond = min((one for one in trials if not one.fits), key=_batch, default=None)
    if within is None:
        within = Tried(0, True, min(trials[0].fixed, limit))
    return within, beyond


def _tried(tried: Callable[[int], Tried], batch: int) -> Tried:
    try:
        return tried(batch)
    except ValueError as error:  # batch norm takes no single sample
        if batch > 1 or isinstance(error, MempropError):
            raise
        return tried(2)


def _batch(one: Tried) -> int:
    return one.batch


def _next(trials: list[Tried], within: Tried, beyond: Tried | None, limit: int) -> int:
    """Where to look next: where peaks say that the limit is, in the end halfway."""
    if beyond is not None and beyond.fixed >= limit:
        return within.batch + 1  # what does not depend on the batch is too much
    if beyond is None:
        none = Tried(0, True, within.fixed)
        below = max((t for t in trials if t.batch < within.batch), key=_batch, default=none)
        guess = _where(below, within, limit)
        return max(within.batch + max(1, within.batch // _FINE), guess)
    goal = usable(beyond, limit)
    if within.peak < 0.95 * goal and len(trials) <= _BY_PEAKS:
        return between(within, beyond, goal)
    guess = between(within, beyond, limit)
    is_near = guess - within.batch < 0.75 * (beyond.batch - within.batch)
    return guess if is_near else (within.batch + beyond.batch) // 2


def usable(beyond: Tried, limit: int) -> int:
    """The peak to aim at, given a batch that does not fit."""
    share = 1.0 if beyond.reserved is None else beyond.peak / beyond.reserved
    return int(min(USABLE * limit, max(share, 0.7) * limit, 0.96 * beyond.peak))


def between(within: Tried, beyond: Tried, goal: int) -> int:
    """The batch whose peak is ``goal``, or the nearest one between two that were tried."""
    return min(max(_where(within, beyond, goal), within.batch + 1), beyond.batch - 1)


def _where(one: Tried, other: Tried, limit: int) -> int:
    """The batch whose peak is at the limit, on the line through two."""
    slope = (other.peak - one.peak) / (other.batch - one.batch)
    return int(one.batch + (limit - one.peak) / slope) if slope > 0 else 2 * other.batch
