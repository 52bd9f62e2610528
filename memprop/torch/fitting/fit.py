"""Does it fit, what is the largest batch, and what would help?"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, SupportsIndex

import torch

from memprop.checks import check_positive_integer
from memprop.cuda.agreement import ALLOCATED_MARGIN, MEASURED_ON, RESERVED_MARGIN
from memprop.cuda.gpus import CONTEXT_BYTES, gpu_of
from memprop.torch.fitting.job import Job, Make, Tried
from memprop.torch.fitting.largest import least_that_does_not, most_that_fits
from memprop.torch.fitting.ways import Progress, Simulations, Way, has_state
from memprop.torch.inputs import Loss
from memprop.torch.task import Optimizer
from memprop.traces.trace import Trace
from memprop.units import parse_bytes

if TYPE_CHECKING:
    import pandas as pd

_FIRST_LOOK: Final = 2
"""So many more batches are simulated before what would help is."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The answer of :func:`fit`.

    Attributes:
        budget: bytes; on a GPU those that the allocator may reserve.
        asked: the batch that was asked for.
        trace: its last step.
        largest: the largest batch that fits of those tried; 0 if none does.
        too_large: the smallest that does not fit; ``None`` if all do.
        ways: what would help, if it does not fit.
        simulations: how many steps were simulated for the answer.
    """

    budget: int
    asked: Tried
    trace: Trace
    largest: int
    too_large: int | None
    ways: tuple[Way, ...]
    simulations: int

    @property
    def fits(self) -> bool:
        """Whether the batch that was asked for fits."""
        return self.asked.fits

    @property
    def needed(self) -> int:
        """The bytes that the steps need: reserved on a GPU, live elsewhere."""
        return self.asked.peak if self.asked.reserved is None else self.asked.reserved

    @property
    def library_bytes(self) -> int:
        """Bytes that cuBLAS and cuDNN keep for themselves from their first call on."""
        asked = self.trace.requests
        return 0 if asked is None else asked.kept_bytes

    @property
    def context_bytes(self) -> int:
        """About what CUDA's context takes beside the budget."""
        return 0 if self.asked.reserved is None else CONTEXT_BYTES

    @property
    def margin(self) -> float | None:
        """How far reserved peaks were off at most; ``None`` where nothing is reserved."""
        return None if self.asked.reserved is None else RESERVED_MARGIN

    @property
    def allocated_margin(self) -> float | None:
        """How far allocated peaks were off at most."""
        return None if self.asked.reserved is None else ALLOCATED_MARGIN

    @property
    def is_measured(self) -> bool:
        """Whether predictions for this device were compared with the device."""
        return self.asked.reserved is None or self.trace.about.get("gpu") == MEASURED_ON

    @property
    def is_close(self) -> bool:
        """Whether the answer could be the other one, within the margin of error."""
        return (
            self.margin is not None and abs(self.needed - self.budget) < self.margin * self.budget
        )

    def table(self) -> "pd.DataFrame":
        """The step as it is and every change to it, a row each.

        The columns are ``way``, ``batch`` (samples in a forward pass), ``allocated_peak``,
        ``reserved_peak`` (both in bytes), ``fits``, ``how`` and ``cost``. On a device without an
        allocator ``allocated_peak`` is the peak of live bytes, and ``reserved_peak`` is missing.
        """
        import pandas as pd

        as_it_is = Way(name="as it is", how="", cost="", tried=self.asked)
        rows = [_row(way) for way in (as_it_is, *self.ways)]
        return pd.DataFrame(rows).astype(dict.fromkeys(_NUMBERS, "Int64"))


_NUMBERS: Final = ("batch", "allocated_peak", "reserved_peak")


def _row(way: Way) -> dict[str, Any]:
    tried = way.tried
    return {
        "way": way.name,
        "batch": None if tried is None else tried.batch,
        "allocated_peak": None if tried is None else tried.peak,
        "reserved_peak": None if tried is None else tried.reserved,
        "fits": way.fits,
        "how": way.how,
        "cost": way.cost or way.why_not,
    }


def fit(
    make: Make,
    budget: str | SupportsIndex | None = None,
    *,
    batch: int,
    loss: Loss | None = None,
    optimizer: Optimizer | None = None,
    mode: str = "train",
    autocast: torch.dtype | None = None,
    micro_batches: int = 1,
    warmup: int = 1,
    device: str = "cuda",
    gpu: str = "h100",
    settings: str = "",
    progress: Progress | None = None,
) -> Fit:
    """Whether training steps fit into ``budget``, the largest batch that does, and what would help.

    At most ten steps are simulated, none is run. What would help is looked for if the batch does
    not fit: gradients accumulated over slices of it, blocks that are computed again, parameters in
    bfloat16, a state of eight bits, SGD without state, and several of these together.

    Args:
        make: called with a batch size; returns a module and its inputs, and after them the target
            if the loss has one, and the optimizer if it is not made by ``optimizer``.
        budget: bytes, or a text such as "24 GiB". On a GPU they are those of the allocator; if not
            given, what the GPU has beside CUDA's context.
        batch: the batch that is asked for.
        loss: as in :func:`memprop.torch.simulate`, as all that follow but the last two.
        optimizer: an optimizer's class, or a function that makes one of the parameters.
        mode: "train" or "inference".
        autocast: the type of :class:`torch.autocast`.
        micro_batches: how often forward and backward run before the optimizer does.
        warmup: steps before the last one, which must fit as well.
        device: where, as "cuda" or "cpu".
        gpu: which GPU, if it is one.
        settings: of CUDA's allocator, as in PYTORCH_CUDA_ALLOC_CONF.
        progress: called before each simulation, with what is simulated and its number.

    Raises:
        MempropError: an argument is wrong, or the step cannot be simulated.

    >>> from torch import nn
    >>> def make(batch):
    ...     return nn.Linear(1000, 1000), torch.empty(batch, 1000)
    >>> answer = fit(make, "64 MiB", batch=9000, optimizer=torch.optim.AdamW, device="cpu")
    >>> answer.fits, answer.largest
    (False, 5025)
    """
    check_positive_integer("batch", batch)
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
    room = parse_bytes(budget) if budget is not None else gpu_of(gpu).memory - CONTEXT_BYTES
    job = Job(make=make, limit=room, settings=settings, options=options)
    return _answer(job, Simulations(job, batch, progress or _silently))


def _silently(what: str, number: int) -> None:
    del what, number


def _answer(job: Job, simulations: Simulations) -> Fit:
    asked, trace = simulations.asked()
    trials, ways = [asked], []
    if not asked.fits:
        trials = simulations.search(trials, _FIRST_LOOK)
        ways = simulations.ways(trace, asked, trials)
    trials = simulations.search(trials, simulations.left)
    if not asked.fits and simulations.left and has_state(trace):
        ways.append(simulations.without_state())
    return Fit(
        budget=job.limit,
        asked=asked,
        trace=trace,
        largest=most_that_fits(trials),
        too_large=least_that_does_not(trials),
        ways=tuple(ways),
        simulations=simulations.count,
    )
