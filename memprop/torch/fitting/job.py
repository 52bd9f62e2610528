"""A model at any batch, and the memory that its steps have."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch import nn

from memprop.cuda.settings import AllocatorSettings
from memprop.errors import InvalidTypeError
from memprop.torch.fitting.without_numbers import made_without_numbers
from memprop.torch.step import simulate
from memprop.traces.requests import BEFORE
from memprop.traces.trace import Trace


class Made(NamedTuple):
    """What a step is of, at one batch."""

    module: nn.Module | Callable[[], nn.Module]
    inputs: Any
    target: Any = None
    optimizer: torch.optim.Optimizer | None = None


Make = Callable[[int], tuple[Any, ...]]
"""Called with a batch size; returns what :class:`Made` has, at least a module and its inputs."""


_FIXED: Final = ("parameter", "optimizer_state", "parameter_gradient")
"""Categories whose bytes do not depend on the batch."""


@dataclass(frozen=True)
class Tried:
    """A batch that was simulated.

    Attributes:
        batch: how many samples.
        fits: whether its steps fit.
        peak: the most bytes that they need, without a limit: allocated, on a GPU.
        reserved: the most bytes that the allocator takes from the GPU, without a limit; ``None``
            where there is no allocator.
        failed_at: the first operator of the last step with which there are too many bytes; ``None``
            if the steps fit.
        retries: how often it has to give back unused segments to serve all others.
        fixed: about how many bytes of the peak do not depend on the batch.
    """

    batch: int
    fits: bool
    peak: int
    reserved: int | None = None
    failed_at: str | None = None
    retries: int = 0
    fixed: int = 0


@dataclass(frozen=True, kw_only=True)
class Job:
    """Training steps of a model, for any batch.

    Attributes:
        make: makes the model and its inputs.
        limit: the bytes that steps may take: of the allocator, on a GPU.
        settings: of CUDA's allocator, as in PYTORCH_CUDA_ALLOC_CONF.
        options: the other arguments of :func:`memprop.torch.simulate`.
        around: a context in which steps run.
    """

    make: Make
    limit: int
    settings: str = ""
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    around: Callable[[], AbstractContextManager[object]] = nullcontext

    def __post_init__(self) -> None:
        AllocatorSettings.parse(self.settings)  # a mistake in it is told before any simulation

    def made(self, batch: int) -> Made:
        """The model and its inputs; :func:`simulate` checks each."""
        found = made_without_numbers(lambda: self.make(batch))
        if not isinstance(found, tuple) or len(found) not in (2, 3, 4):
            raise InvalidTypeError(
                f"make({batch}) must return a module and its inputs, and the target and the "
                f"optimizer if there are any; got {type(found).__name__}"
            )
        return Made(*found)

    def options_for(self, made: Made) -> dict[str, Any]:
        """The options of a step of it, its target and its own optimizer included."""
        own = {} if made.optimizer is None else {"optimizer": made.optimizer}
        return {**self.options, "target": made.target, **own}

    def simulated(self, made: Made) -> Trace:
        """The last of the steps."""
        with self.around():
            return simulate(made.module, made.inputs, **self.options_for(made))

    def judged(self, batch: int, trace: Trace) -> Tried:
        """Whether steps fit, of which this one is the last."""
        at_peak = trace.peak_by_category()
        fixed = sum(at_peak[category] for category in _FIXED)
        if trace.requests is None:
            fits = trace.peak <= self.limit
            over = None if fits else self._over(trace, trace.live.total)
            return Tried(batch, fits, trace.peak, failed_at=over, fixed=fixed)
        limited, free = trace.replay(self.settings, self.limit), trace.replay(self.settings)
        failed = None
        if limited.failed_at == BEFORE:  # the operators of earlier steps are not known
            failed = self._over(trace, free.allocated)
        elif limited.failed_at is not None:
            failed = trace.operator_at(limited.failed_at)
        return Tried(
            batch,
            limited.fits,
            free.allocated_peak,
            free.reserved_peak,
            failed,
            limited.retries,
            fixed + trace.requests.kept_bytes,
        )

    def _over(self, trace: Trace, levels: np.ndarray) -> str:
        """The operator with which there are more bytes than the limit; with the most, if never."""
        return trace.operator_at(int(np.argmax(levels > min(self.limit, levels.max() - 1))))

    def tried(self, batch: int) -> Tried:
        """Simulate the steps of a batch, and judge them."""
        return self.judged(batch, self.simulated(self.made(batch)))
