"""The largest batch whose training steps fit into a budget, of any PyTorch model."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, SupportsIndex

import torch

from memprop.cuda.settings import AllocatorSettings
from memprop.errors import InvalidTypeError
from memprop.torch.inputs import Loss
from memprop.torch.step import simulate
from memprop.torch.task import Optimizer
from memprop.traces.trace import Trace
from memprop.units import parse_bytes

_MOST_SIMULATIONS: Final = 10
_FIRST: Final = 8
_BY_PEAKS: Final = 5
"""After so many trials what is left is halved."""
_FINE: Final = 200
"""The largest batch is found to one sample, or to this fraction of it."""

Make = Callable[[int], tuple[Any, ...]]


@dataclass(frozen=True)
class Tried:
    """A batch that was simulated.

    Attributes:
        batch: how many samples.
        fits: whether its steps fit.
        peak: the most bytes that they need, without a limit.
    """

    batch: int
    fits: bool
    peak: int


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
        make: called with a batch size; returns a module and its inputs, and the target if the loss
            has one.
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
    limit = parse_bytes(budget)
    AllocatorSettings.parse(settings)  # a mistake in it is told before anything is simulated

    def tried(batch: int) -> Tried:
        module, inputs, target = _made(make, batch)
        trace = simulate(
            module,
            inputs,
            loss=loss,
            target=target,
            optimizer=optimizer,
            mode=mode,
            autocast=autocast,
            micro_batches=micro_batches,
            warmup=warmup,
            device=device,
            gpu=gpu,
        )
        return Tried(batch, _fits(trace, limit, settings), trace.allocated_peak or trace.peak)

    return largest(tried, limit)


def largest(tried: Callable[[int], Tried], limit: int) -> int:
    """The largest batch that fits, by at most ten trials.

    Peaks are nearly affine in the batch, so two of them say where the limit is; what is left is
    found by halving.
    """
    trials = [tried(_FIRST)]
    if not trials[0].fits:
        trials.append(tried(1))
        if not trials[1].fits:
            return 0
    else:
        trials.append(tried(2 * _FIRST))
    while len(trials) < _MOST_SIMULATIONS:
        within = max((one for one in trials if one.fits), key=_batch)
        beyond = min((one for one in trials if not one.fits), key=_batch, default=None)
        if beyond is not None and beyond.batch - within.batch <= max(1, within.batch // _FINE):
            break
        trials.append(tried(_next(trials, within, beyond, limit)))
    return max(one.batch for one in trials if one.fits)


def _batch(one: Tried) -> int:
    return one.batch


def _next(trials: list[Tried], within: Tried, beyond: Tried | None, limit: int) -> int:
    """Where to look next: where peaks say that the limit is, in the end halfway."""
    if beyond is None:
        below = max((one for one in trials if one.batch < within.batch), key=_batch)
        guess = _where(below, within, limit)
        return max(within.batch + max(1, within.batch // _FINE), guess)
    # Not all of the limit can be used: some of it lies in blocks that nothing fits into.
    goal = 0.98 * limit if beyond.peak > 1.02 * limit else 0.96 * beyond.peak
    if within.peak < 0.95 * goal and len(trials) <= _BY_PEAKS:
        guess = _where(within, beyond, int(goal))
        return min(max(guess, within.batch + 1), beyond.batch - 1)
    return (within.batch + beyond.batch) // 2


def _where(one: Tried, other: Tried, limit: int) -> int:
    """The batch whose peak is at the limit, on the line through two."""
    slope = (other.peak - one.peak) / (other.batch - one.batch)
    return int(one.batch + (limit - one.peak) / slope) if slope > 0 else 2 * other.batch


def _made(make: Make, batch: int) -> tuple[Any, Any, Any]:
    """The module, its inputs and the target; :func:`simulate` checks each."""
    found = make(batch)
    if not isinstance(found, tuple) or len(found) not in (2, 3):
        raise InvalidTypeError(
            f"make({batch}) must return a module and its inputs, and the target if there is one; "
            f"got {type(found).__name__}"
        )
    return found[0], found[1], found[2] if len(found) > 2 else None


def _fits(trace: Trace, limit: int, settings: str) -> bool:
    if trace.requests is None:
        return trace.peak <= limit
    return trace.replay(settings, limit).fits
