"""Planning for one step: it is observed once, and plans are confirmed in simulated steps."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

from torch import nn

from memprop.errors import InvalidTypeError, InvalidValueError
from memprop.schedules.plan import infeasible
from memprop.torch.checkpoint.blocks import check_blocks
from memprop.torch.checkpoint.costs import (
    Costs,
    Pricing,
    check_cost,
    in_flops,
    in_seconds,
    pricing_of,
)
from memprop.torch.checkpoint.curves import Candidate
from memprop.torch.checkpoint.explained import paths_of, plan_of
from memprop.torch.checkpoint.improving import improved
from memprop.torch.checkpoint.observed import Seen, observed
from memprop.torch.checkpoint.offloading import copying_seconds
from memprop.torch.checkpoint.plan import CheckpointPlan
from memprop.torch.checkpoint.planned import check_copied, planned
from memprop.torch.checkpoint.planner import Candidates, worth_it
from memprop.torch.checkpoint.rehearsal import Rehearsal
from memprop.torch.fake.simulated import without_memory
from memprop.torch.inputs import arguments, check_module, loss_of
from memprop.torch.record.ledger import Ledger
from memprop.torch.record.requests import RequestLog
from memprop.torch.recorded import recorded
from memprop.torch.seconds.watch import Calls
from memprop.torch.state.start import Start, left_as_it_was
from memprop.torch.task import Task, autocast_of, new_gradients_dropped, run, warm_up
from memprop.traces.trace import Trace
from memprop.waiting import waiting

_DEFAULTS = {
    "loss": None,
    "target": None,
    "optimizer": None,
    "autocast": None,
    "micro_batches": 1,
}
_TRIES = 20
"""How often each point of a curve is improved."""
_ROUNDS = 8
"""How often a budget is lowered by what a simulated step took more than was worked out."""
_MICRO_BATCHES = 4
"""So many are simulated, at most."""


@dataclass(frozen=True)
class Planning:
    """A step to plan for.

    Attributes:
        task: the step, on fake tensors, as it is after a first one.
        begin: the state before the first step.
        step: the step as it was observed.
        trace: of that.
        costs: of its calls, and of all of it.
        blocks: the path of the list of modules that plans are told by.
        compiled: whether plans are for the module as torch.compile runs it.
    """

    task: Task
    begin: Start
    step: Rehearsal
    trace: Trace
    costs: Costs
    blocks: str | None
    compiled: bool = False

    @cached_property
    def candidates(self) -> Candidates:
        """The choices that are worth their memory."""
        return Candidates(self.step, self.trace, groups=not self.compiled)

    def curve(self, points: int) -> list[Candidate]:
        """The choices that are worth their memory, by rising peak; about so many."""
        found = self.candidates.every(points)
        return worth_it(improved(self.step, one, one.outcome.peak, _TRIES) for one in found)

    @property
    def work(self) -> float:
        """The cost of a step that keeps everything."""
        return self.costs.of_step

    def within(self, room: int) -> CheckpointPlan:
        """The cheapest plan whose steps are within ``room`` bytes.

        Raises:
            InfeasibleBudget: there is none.
        """
        off = 0
        for _ in range(_ROUNDS):
            best = self.candidates.within(room - off)
            if best is None:
                break
            plan = self.plan(best, self.peak(best))
            if plan.peak <= room:
                return plan
            off += plan.peak - room
        least = self.candidates.least
        plan = self.plan(least, self.peak(least))
        if plan.peak > room:
            raise infeasible(room, plan.peak)
        return plan

    def plan(self, candidate: Candidate, peak: int) -> CheckpointPlan:
        """The plan of a candidate with this peak."""
        made = plan_of(
            self.task.module,
            self.step,
            self.trace,
            candidate,
            peak=peak,
            slowdown=1 + candidate.outcome.cost / (self.work or 1),
            blocks=self.blocks,
        )
        return replace(
            made, cost=self.costs.unit, estimated=self.costs.estimated, compiled=self.compiled
        )

    def peak(self, candidate: Candidate) -> int:
        """The peak of simulated steps of a candidate, the first and a later one."""
        module = planned(self.task.module, *self.paths(candidate))
        if self.compiled:
            module = self._as_compiled(module)
        task = replace(self.task, module=module)
        if task.pretence is not None:
            # The allocator is that of a new process, which knows nothing of what was planned with.
            task = replace(task, pretence=replace(task.pretence, log=RequestLog()))
            with self._at_the_beginning():
                _simulated(task)
                return _held(_simulated(task))
        later = _held(_simulated(task))
        if task.optimizer is None:
            return later
        with self._at_the_beginning():
            return max(_held(_simulated(task)), later)

    def _as_compiled(self, module: nn.Module) -> nn.Module:
        from memprop.torch.checkpoint.compiled import as_compiled  # dynamo takes a second to load

        args, kwargs = arguments(self.task.inputs)
        with autocast_of(self.task):
            return as_compiled(module, args, kwargs)

    @contextmanager
    def _at_the_beginning(self) -> Iterator[None]:
        """Inside the block everything is as it was before the first step."""
        now = start_of(self.task)
        self.begin.put_back()
        try:
            yield
        finally:
            now.put_back()

    def paths(self, candidate: Candidate) -> tuple[dict[Any, dict[int, Any]], dict[Any, int]]:
        """What a tape must know of a candidate."""
        return paths_of(self.step, candidate)


def _simulated(task: Task) -> Trace:
    with new_gradients_dropped(task):
        return recorded(task, real=False)


def _held(trace: Trace) -> int:
    """What is held against a budget: what CUDA's allocator reserves; live bytes elsewhere."""
    reserved = trace.reserved_peak
    return trace.peak if reserved is None else reserved


def start_of(task: Task) -> Start:
    """The state in which a step would begin now."""
    return Start.now(task.module, task.inputs, task.loss, task.target, optimizer=task.optimizer)


@contextmanager
def planning(
    module: nn.Module,
    inputs: Any,
    *,
    blocks: str | None = None,
    cost: str | None = None,
    compiled: bool = False,
    offload: str | None = None,
    bandwidth: str | float | None = None,
    **options: Any,
) -> Iterator[Planning]:
    """What is to be planned, inside the block. Afterwards everything is as it was.

    Args:
        module: the module.
        inputs: of the step.
        blocks: the path of the list of modules that plans are told by.
        cost: what is held against memory, "flops" or "seconds"; the former if not given, the latter
            with ``offload``.
        compiled: whether plans are for the module as torch.compile runs it.
        offload: where results may wait for the backward pass: "cpu" or ``None``.
        bandwidth: bytes a second that are copied there or back.
        options: of the step: loss, target, optimizer, autocast, micro_batches, device, gpu.
    """
    options = {**_DEFAULTS, **options}
    check_module(module)
    check_copied(module)
    check_blocks(module, blocks)
    if not isinstance(compiled, bool):
        raise InvalidTypeError(f"compiled must be True or False, got {compiled!r}")
    if compiled and options.get("device") is not None:
        raise InvalidValueError(
            f"compiled=True plans for where the module is, and not for device="
            f"{options['device']!r}: leave one of them out"
        )
    where = {"device": options.get("device"), "gpu": options.get("gpu", "h100")}
    copying = math.inf
    if offload is not None:
        _check_offload(cost, compiled)
        copying = copying_seconds(module, offload, bandwidth=bandwidth, **where)
    elif bandwidth is not None:
        raise InvalidValueError(
            "bandwidth is only used with offload='cpu': pass it too, or leave bandwidth out"
        )
    pricing = None
    if check_cost(cost or ("flops" if offload is None else "seconds")) == "seconds":
        pricing = pricing_of(module, **where)
    with (
        waiting("planning what to compute again"),
        left_as_it_was(module, inputs, options["loss"], options["target"]),
        without_memory(module, inputs, mode="train", **options) as task,
    ):
        # What is live is the same in each micro-batch after the second.
        task = replace(task, micro_batches=min(task.micro_batches, _MICRO_BATCHES))
        begin = start_of(task)
        warm_up(task, 1, _first_step_of(task))
        few = replace(task, micro_batches=min(task.micro_batches, 2))
        seen, trace, costs = _observed(few, pricing)
        step = Rehearsal(seen, trace, costs.of_calls, copying)
        yield Planning(task, begin, step, trace, costs, blocks, compiled)


def _first_step_of(task: Task) -> Callable[[Task], object]:
    """What is done before the step that plans are for; without an optimizer forward is enough."""
    if task.pretence is not None:
        return partial(recorded, real=False)
    return _forward if task.optimizer is None else run


def _forward(task: Task) -> None:
    args, kwargs = arguments(task.inputs)
    with autocast_of(task):
        loss_of(task.loss, task.module(*args, **kwargs), task.target)


def _check_offload(cost: str | None, compiled: bool) -> None:
    if cost == "flops":
        raise InvalidValueError(
            "offload='cpu' holds the time of copies against that of computing again: leave "
            "cost='flops' out, or name cost='seconds'"
        )
    if compiled:
        raise InvalidValueError(
            "offload='cpu' is planned for steps that are not compiled: leave compiled=True out"
        )


def _observed(task: Task, pricing: Pricing | None) -> tuple[Seen, Trace, Costs]:
    """A step as it was observed, with its costs: seconds where there is something that tells."""
    if pricing is None:
        seen, trace = _followed(task)
        return seen, trace, in_flops(seen, trace)
    watched: list[Calls] = []

    def watching(ledger: Ledger) -> Calls:
        watched.append(Calls(ledger, task.pretence))
        return watched[-1]

    seen, trace = _followed(task, watching)
    return seen, trace, in_seconds(seen, watched[-1].asked, pricing)


def _followed(task: Task, watching: Callable[[Ledger], Calls] | None = None) -> tuple[Seen, Trace]:
    try:
        return observed(task, watching)
    except RuntimeError as error:
        if "saved tensor hooks" not in str(error):
            raise
        raise InvalidValueError(
            "the module differentiates with torch.func within its forward pass, where PyTorch does "
            "not allow hooks on saved tensors: plan for the modules before and after that part"
        ) from error
