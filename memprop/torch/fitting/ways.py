"""What would help a step that does not fit, each way simulated."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from memprop.torch.checkpoint.plan import CheckpointPlan
from memprop.torch.chunked import CHUNKS
from memprop.torch.fitting.changes import (
    in_bfloat16,
    sliced,
    with_chunked_loss,
    with_optimizer,
)
from memprop.torch.fitting.checkpoints import Plans, plans_of
from memprop.torch.fitting.eight_bit import AdamW8bit
from memprop.torch.fitting.job import Job, Make, Tried
from memprop.torch.fitting.largest import (
    MOST_SIMULATIONS,
    USABLE,
    around,
    between,
    search,
    usable,
)
from memprop.traces.trace import Trace

Progress = Callable[[str, int], None]
"""Told what is simulated next, and the number of that simulation."""


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


class Simulations:
    """Simulations of a job, and of the job changed in several ways; they are counted.

    Args:
        job: the steps.
        batch: the batch that is asked for.
        progress: called before each simulation.

    Attributes:
        count: how many there were.
    """

    def __init__(self, job: Job, batch: int, progress: Progress) -> None:
        self._job, self._batch, self._progress = job, batch, progress
        self.count = 0

    @property
    def left(self) -> int:
        """How many more there may be."""
        return MOST_SIMULATIONS - self.count

    def asked(self) -> tuple[Tried, Trace]:
        """The batch that is asked for, and the last of its steps."""
        self._begin(f"batch {self._batch}")
        trace = self._job.simulated(self._job.made(self._batch))
        return self._job.judged(self._batch, trace), trace

    def _begin(self, what: str) -> None:
        self.count += 1
        self._progress(what, self.count)

    def _tried(self, what: str, job: Job, batch: int) -> Tried:
        self._begin(what)
        return job.tried(batch)

    def search(self, trials: list[Tried], more: int) -> list[Tried]:
        """Up to so many more trials, around the largest batch that fits."""

        def tried(batch: int) -> Tried:
            return self._tried(f"batch {batch}", self._job, batch)

        return search(tried, self._job.limit, trials, more)

    def ways(self, trace: Trace, asked: Tried, trials: list[Tried]) -> list[Way]:
        """What would help, the mildest first."""
        ways: list[Way] = []
        if trace.about["mode"] == "inference":
            return ways
        slices = self._slices_for(trials, trace)
        if slices:
            ways.append(self._accumulated(slices, trace))
        if _is_at_the_loss(trace):
            ways += self._with_chunked_loss(asked)
        plans = self._plans()
        if isinstance(plans, Plans):
            needed = 2 if any(way.fits for way in ways) else 4
            ways.append(self._recomputed(plans, asked, trace.peak, needed))
        if has_state(trace):
            ways.append(self._with_state_of_eight_bits())
        if _is_wide(trace):
            ways.append(self._in_bfloat16())
            if not any(way.fits for way in ways):
                ways += self._together(plans, stateful=has_state(trace))
        return ways

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
        is_last = self.left - 1 <= needed
        room = usable(asked, limit) if is_last else int(USABLE * limit)
        place = plans.cheapest_within(room - beside)
        way = self._with_plan(plans, place)
        if way.tried is not None and not way.fits and place and not is_last:
            over = (way.tried.reserved or way.tried.peak) - int(USABLE * limit)
            place = plans.cheapest_within(plans.plans[place].peak - over)
            way = self._with_plan(plans, place)
        return way

    def _with_plan(self, plans: Plans, place: int) -> Way:
        plan = plans.plans[place]
        budget = f"{-(-plan.peak // 2**20)} MiB"  # enough: rounded up
        way = Way(
            name=f"recompute {_blocks(plan)}",
            how=f'mpt.auto_checkpoint(module, inputs, "{budget}", loss=..., optimizer=...)',
            cost=f"{plan.slowdown - 1:.1%} more FLOPs",
        )
        job = replace(self._job, make=lambda _: plans.carried_out(place))
        return self._way(way, job)

    def _with_chunked_loss(self, asked: Tried) -> Iterator[Way]:
        """Cross entropy in parts, if that needs less: the user's loss may be another one."""
        way = Way(
            name=f"cross entropy in {CHUNKS} parts",
            how="mpt.chunked_cross_entropy(logits, target) in place of F.cross_entropy",
            cost="softmax is computed twice",
        )
        way = self._way(way, with_chunked_loss(self._job))
        if way.tried is None or way.tried.peak < asked.peak:
            yield way

    def _with_state_of_eight_bits(self) -> Way:
        way = Way(
            name="optimizer state of 8 bits",
            how="bitsandbytes.optim.AdamW8bit(module.parameters())",
            cost="updates are rounded",
        )
        return self._way(way, with_optimizer(self._job, AdamW8bit))

    def without_state(self) -> Way:
        """An optimizer that has no state."""
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

    def _together(self, plans: Plans | Exception, *, stateful: bool) -> Iterator[Way]:
        """Several ways at once, in one pass and, if that does not fit, in slices."""
        job, names = in_bfloat16(self._job), ["bfloat16"]
        if stateful:
            job = with_optimizer(job, AdamW8bit)
            names.append("8-bit state")
        if isinstance(plans, Plans):
            names.append(f"recompute {_blocks(plans.plans[0])}")
            job = replace(job, make=_recomputing(job, plans))
        way = Way(name=" + ".join(names), how="as each of them", cost="as each of them")
        way = self._way(way, job)
        yield way
        if way.tried is None or way.fits or not self.left:
            return
        size = self._slice_within(way.tried)
        if size:
            yield self._slices(job, size, name=f"{way.name} + ", cost=way.cost)

    def _slice_within(self, tried: Tried) -> int:
        """How large slices may be, if nearly all bytes are proportional to the batch."""
        return int(USABLE * 0.9 * self._batch * self._job.limit / tried.peak)


def _blocks(plan: CheckpointPlan) -> str:
    """How many of the blocks a plan computes again, in part or all of them."""
    again = sum(block.recomputed_flops > 0 for block in plan.blocks)
    return f"in {again} of {len(plan.blocks)} blocks"


def _recomputing(job: Job, plans: Plans) -> Make:
    """The models of a job with all that plans can recompute."""
    return lambda batch: replace(plans, made=job.made(batch)).carried_out(0)


def _is_at_the_loss(trace: Trace) -> bool:
    """Whether a step needs the most in cross entropy, or in its backward pass."""
    return any(part in trace.peak_operator.lower() for part in _NAMES_OF_CROSS_ENTROPY)


_NAMES_OF_CROSS_ENTROPY = ("log_softmax", "logsoftmax", "nll_loss", "nllloss", "cross_entropy")
"""Parts of the names of its operators."""


def has_state(trace: Trace) -> bool:
    """Whether the optimizer has a state."""
    return trace.peak_by_category()["optimizer_state"] > 0


def _is_wide(trace: Trace) -> bool:
    """Whether a parameter has more than 16 bits."""
    wide = ("float32", "float64")
    return any(one.category == "parameter" and one.dtype in wide for one in trace.variables)


def _gradient_bytes(trace: Trace) -> int:
    return sum(one.bytes for one in trace.variables if one.category == "parameter_gradient")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
