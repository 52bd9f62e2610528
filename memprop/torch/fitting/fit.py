"""Does it fit, what is the largest batch, and what would help?"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, SupportsIndex

import torch

from memprop.checks import check_positive_integer
from memprop.cuda.agreement import ALLOCATED_MARGIN, MEASURED_ON, RESERVED_MARGIN
from memprop.cuda.gpus import CONTEXT_BYTES, gpu_of
from memprop.torch.fitting.changes import in_bfloat16, sliced, with_optimizer
from memprop.torch.fitting.checkpoints import Plans, plans_of
from memprop.torch.fitting.eight_bit import AdamW8bit
from memprop.torch.fitting.job import Job, Make, Tried
from memprop.torch.fitting.largest import (
    MOST_SIMULATIONS,
    around,
    between,
    least_that_does_not,
    most_that_fits,
    search,
    usable,
)
from memprop.torch.inputs import Loss
from memprop.torch.task import Optimizer
from memprop.traces.trace import Trace
from memprop.units import parse_bytes

if TYPE_CHECKING:
    import pandas as pd

Progress = Callable[[str, int], None]
"""Told what is simulated next, and the number of that simulation."""
_FIRST_LOOK: Final = 2
"""So many more batches are simulated before what would help is."""
_USABLE: Final = 0.98
"""Not all of a limit can be used: some of it lies in blocks that nothing fits into."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """A change that needs fewer bytes.

    Attributes:
        name: what is changed, in few words.
        how: what to do for it, as code.
        cost: what it costs, in words.
        tried: its steps, simulated; ``None`` if they could not be.
        why_not: why they could not be simulated.
    """

    name: str
    how: str
    cost: str
    tried: Tried | None = None
    why_not: str = ""

    @property
    def fits(self) -> bool:
        """Whether steps fit after this change."""
        return self.tried is not None and self.tried.fits


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
        if self.asked.reserved is None:
            return False
        return abs(self.asked.reserved - self.budget) < RESERVED_MARGIN * self.budget

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
    return _Answer(job, batch, progress or _silently).found()


def _silently(what: str, number: int) -> None:
    del what, number


class _Answer:
    """An answer in the making: counts its simulations, and stops at ten."""

    def __init__(self, job: Job, batch: int, progress: Progress) -> None:
        self._job, self._batch, self._progress = job, batch, progress
        self._count = 0

    def found(self) -> Fit:
        self._begin(f"batch {self._batch}")
        trace = self._job.simulated(self._job.made(self._batch))
        asked = self._job.judged(self._batch, trace)
        trials, ways = [asked], ()
        if not asked.fits:
            trials = self._search(trials, _FIRST_LOOK)
            ways = tuple(self._ways(trace, asked, trials))
        trials = self._search(trials, self._left)
        if not asked.fits and self._left and _has_state(trace):
            ways = (*ways, self._without_state())
        return Fit(
            budget=self._job.limit,
            asked=asked,
            trace=trace,
            largest=most_that_fits(trials),
            too_large=least_that_does_not(trials),
            ways=ways,
            simulations=self._count,
        )

    @property
    def _left(self) -> int:
        return MOST_SIMULATIONS - self._count

    def _begin(self, what: str) -> None:
        self._count += 1
        self._progress(what, self._count)

    def _tried(self, what: str, job: Job, batch: int) -> Tried:
        self._begin(what)
        return job.tried(batch)

    def _search(self, trials: list[Tried], more: int) -> list[Tried]:
        def tried(batch: int) -> Tried:
            return self._tried(f"batch {batch}", self._job, batch)

        return search(tried, self._job.limit, trials, more)

    def _ways(self, trace: Trace, asked: Tried, trials: list[Tried]) -> Iterator[Way]:
        """What would help, the mildest first."""
        if trace.about["mode"] == "inference":
            return
        ways = []
        slices = self._slices_for(trials, trace)
        if slices:
            ways.append(self._accumulated(slices, trace))
            yield ways[-1]
        plans = self._plans()
        if isinstance(plans, Plans):
            needed = 2 if any(way.fits for way in ways) else 4
            ways.append(self._recomputed(plans, asked, trace.peak, needed))
            yield ways[-1]
        if _has_state(trace):
            ways.append(self._with_state_of_eight_bits())
            yield ways[-1]
        if _is_wide(trace):
            ways.append(self._in_bfloat16())
            yield ways[-1]
            if not any(way.fits for way in ways):
                yield from self._together(plans, has_state=_has_state(trace))

    def _way(self, way: Way, job: Job, batch: int | None = None) -> Way:
        """A way with its simulation; the user's model may not bear the change."""
        try:
            return replace(way, tried=self._tried(way.name, job, batch or self._batch))
        except Exception as error:  # whatever the user's own code raises
            return replace(way, why_not=f"cannot be simulated: {_first_line(error)}")

    def _slices_for(self, trials: list[Tried], trace: Trace) -> int:
        """Over how many slices to accumulate gradients, as the trials say; 0 if it is no use."""
        within, beyond = around(trials, self._job.limit)
        if beyond is None or beyond.batch == 1 or beyond.fixed >= self._job.limit:
            return 0
        # From the second slice on, all gradients are there from the beginning.
        room = usable(beyond, self._job.limit) - _gradient_bytes(trace)
        nearest = within if within.batch > 1 else beyond
        return -(-self._batch // between(Tried(0, True, nearest.fixed), nearest, room))

    def _accumulated(self, slices: int, trace: Trace) -> Way:
        has_norm = any("batch_norm" in operator.name for operator in trace.operators)
        cost = "batch norm sees slices" if has_norm else "more and smaller kernels"
        return self._slices(self._job, -(-self._batch // slices), cost=cost)

    def _slices(self, job: Job, size: int, *, name: str = "", cost: str) -> Way:
        slices = -(-self._batch // size)
        way = Way(
            name=f"{name}{slices} slices of {size}",
            how=f"call loss.backward() on {slices} slices of {size}, then optimizer.step()",
            cost=cost,
        )
        # From the second slice on, all need the same.
        return self._way(way, sliced(job, min(slices, 2)), size)

    def _plans(self) -> Plans | Exception:
        self._begin("blocks to compute again")
        try:
            return plans_of(self._job, self._batch)
        except Exception as error:  # whatever the user's own code raises
            return error

    def _recomputed(self, plans: Plans, asked: Tried, live: int, needed: int) -> Way:
        """The cheapest plan that fits; the one that needs least if none does.

        Args:
            plans: what can be recomputed.
            asked: the step without a plan.
            live: its peak of live bytes, which is what plans know.
            needed: how many simulations must be left for other ways.
        """
        limit, beside = self._job.limit, asked.peak - live
        is_last = self._left - 1 <= needed
        room = usable(asked, limit) if is_last else int(_USABLE * limit)
        place = plans.cheapest_within(room - beside)
        way = self._with_plan(plans, place)
        if way.tried is not None and not way.fits and place and not is_last:
            over = (way.tried.reserved or way.tried.peak) - int(_USABLE * limit)
            place = plans.cheapest_within(plans.peak(place) - over)
            way = self._with_plan(plans, place)
        return way

    def _with_plan(self, plans: Plans, place: int) -> Way:
        told = plans.told(place)
        budget = f"{-(-plans.peak(place) // 2**20)} MiB"  # enough: rounded up
        way = Way(
            name=f"recompute {told.again} of {told.of} blocks",
            how=(
                f'mpt.auto_checkpoint(module, inputs, "{budget}", loss=..., optimizer=...): '
                f"{told.first} to {told.last}"
            ),
            cost=f"{told.slower:.0%} more FLOPs",
        )
        job = replace(self._job, make=lambda _: plans.carried_out(place))
        return self._way(way, job)

    def _with_state_of_eight_bits(self) -> Way:
        way = Way(
            name="optimizer state of 8 bits",
            how="bitsandbytes.optim.AdamW8bit(module.parameters())",
            cost="updates are rounded",
        )
        return self._way(way, with_optimizer(self._job, AdamW8bit))

    def _without_state(self) -> Way:
        way = Way(
            name="SGD without momentum",
            how="torch.optim.SGD(module.parameters())",
            cost="another optimizer",
        )
        return self._way(way, with_optimizer(self._job, torch.optim.SGD))

    def _in_bfloat16(self) -> Way:
        way = Way(
            name="model in bfloat16",
            how="module.bfloat16(), and inputs too; without autocast",
            cost="all is rounded to 8 significant bits",
        )
        return self._way(way, in_bfloat16(self._job))

    def _together(self, plans: Plans | Exception, *, has_state: bool) -> Iterator[Way]:
        """Several ways at once, in one pass and, if that does not fit, in slices."""
        job, names = in_bfloat16(self._job), ["bfloat16"]
        if has_state:
            job = with_optimizer(job, AdamW8bit)
            names.append("8-bit state")
        if isinstance(plans, Plans):
            names.append(f"recompute {plans.told(0).again} blocks")
            job = replace(job, make=_recomputing(job, plans))
        way = Way(name=" + ".join(names), how="as each of them", cost="as each of them")
        way = self._way(way, job)
        yield way
        if way.tried is None or way.fits or not self._left:
            return
        size = self._slice_within(way.tried)
        if size:
            yield self._slices(job, size, name=f"{way.name} + ", cost=way.cost)

    def _slice_within(self, tried: Tried) -> int:
        """How large slices may be, if nearly all bytes are proportional to the batch."""
        return int(_USABLE * 0.9 * self._batch * self._job.limit / tried.peak)


def _recomputing(job: Job, plans: Plans) -> Make:
    """The models of a job with all that plans can recompute."""
    return lambda batch: replace(plans, made=job.made(batch)).carried_out(0)


def _has_state(trace: Trace) -> bool:
    return trace.peak_by_category()["optimizer_state"] > 0


def _is_wide(trace: Trace) -> bool:
    """Whether a parameter has more than 16 bits."""
    wide = ("float32", "float64")
    return any(one.category == "parameter" and one.dtype in wide for one in trace.variables)


def _gradient_bytes(trace: Trace) -> int:
    return sum(one.bytes for one in trace.variables if one.category == "parameter_gradient")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
