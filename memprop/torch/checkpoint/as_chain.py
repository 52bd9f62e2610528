"""The planner's view of a module: its blocks as a chain, measured on one simulated step."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from memprop.schedules.chain import Chain
from memprop.schedules.measured import Part, measured_chain
from memprop.terms import PHASES
from memprop.torch.checkpoint.blocks import Blocks, blocks_of, lists_of, units
from memprop.torch.checkpoint.module_calls import Call, ModuleCallRecorder
from memprop.torch.record.ledger import Ledger
from memprop.torch.record.work import Work
from memprop.torch.recorded import recorded
from memprop.torch.task import Task, new_gradients_dropped
from memprop.traces.trace import Trace

_LOSS_BYTES = 4


@dataclass(frozen=True)
class ModuleChain:
    """The blocks of a module as a chain.

    Attributes:
        blocks: those that can be recomputed.
        units: their numbers, those together that run together: the stages of the chain but the
            last, which is all that comes after them, the loss included.
        chain: costs in FLOPs, sizes in bytes.
        trace: of the step in which everything is kept.
    """

    blocks: Blocks
    units: list[list[int]]
    chain: Chain
    trace: Trace


@dataclass(frozen=True)
class _Step:
    """One step that was watched."""

    trace: Trace
    calls: list[Call]
    work: Work


def as_chain(task: Task, wanted: str | None) -> ModuleChain:
    """See a module as a chain of blocks.

    Args:
        task: a training step on fake tensors.
        wanted: the path of the list of blocks; the one that saves most if ``None``.

    Raises:
        InvalidValueError: there is no such chain in the module.
    """
    lists = lists_of(task.module, wanted)
    names = {name for parts in lists.values() for name in parts}
    training = _watched(task, names)
    blocks = blocks_of(lists, training.calls, training.trace)
    inference = _watched(replace(task, mode="inference"), set(blocks.names))
    parts = units(blocks)
    return ModuleChain(blocks, parts, _chain(blocks, parts, training, inference), training.trace)


def _watched(task: Task, names: set[str]) -> _Step:
    """Run a task and watch the modules of these names."""
    modules = {task.module.get_submodule(name): name for name in sorted(names)}
    found: list[tuple[ModuleCallRecorder, Work]] = []

    @contextmanager
    def observer(ledger: Ledger) -> Iterator[None]:
        probe, work = ModuleCallRecorder(ledger), Work(ledger)
        found.append((probe, work))
        with probe.on(modules), work:
            yield

    with new_gradients_dropped(task):
        trace = recorded(task, real=False, observer=observer)
    ((probe, work),) = found
    return _Step(trace, probe.calls, work)


def _chain(
    blocks: Blocks, parts: Sequence[Sequence[int]], training: _Step, inference: _Step
) -> Chain:
    forward = _spans_forward(blocks.calls, parts, training.trace)
    backward = _spans_backward(blocks.calls, parts, training.trace)
    first = [blocks.calls[unit[0]] for unit in parts]
    last = [blocks.calls[unit[-1]] for unit in parts]
    costs = [[training.work.between(*span) for span in spans] for spans in (forward, backward)]
    without = {call.name: call for call in inference.calls}
    workspace = [
        _workspace(inference.trace, without[a.name].begin, without[b.name].end, b.bytes)
        for a, b in zip(first, last, strict=True)
    ]
    return measured_chain(
        [_part(training.trace, *span) for span in forward],
        [_part(training.trace, *span) for span in backward],
        inputs=[blocks.input_bytes, *(call.bytes for call in last)],
        output=_LOSS_BYTES,
        forward_workspace=[*workspace, 0],
        forward_cost=costs[0],
        backward_cost=costs[1],
    )


_Span = tuple[int, int]
"""The events from one on, up to but without another."""


def _spans_forward(
    calls: Sequence[Call], parts: Sequence[Sequence[int]], trace: Trace
) -> list[_Span]:
    """The events from each unit's beginning to the next one's, and from the last to backward."""
    begins = [calls[unit[0]].begin for unit in parts]
    ends = [*begins[1:], calls[-1].end, _first_event(trace, "backward")]
    return list(zip([*begins, calls[-1].end], ends, strict=True))


def _spans_backward(
    calls: Sequence[Call], parts: Sequence[Sequence[int]], trace: Trace
) -> list[_Span]:
    """The events from the gradient of each unit's output to that of its input."""
    begins = [_backward(calls[unit[-1]]) for unit in parts]
    start = _first_event(trace, "backward")
    end = calls[0].past or int(np.flatnonzero(trace.events.phase == _BACKWARD)[-1]) + 1
    return list(zip([*begins, start], [end, *begins], strict=True))


_BACKWARD = PHASES.index("backward")


def _first_event(trace: Trace, phase: str) -> int:
    return int(np.argmax(trace.events.phase == PHASES.index(phase)))


def _backward(call: Call) -> int:
    assert call.backward is not None  # noqa: S101 - it was looked at before
    return call.backward


def _part(trace: Trace, begin: int, end: int) -> Part:
    live = trace.live.total
    before = int(live[begin - 1])
    inside = live[begin:end]
    return Part(before, max(before, int(inside.max(initial=0))), int(live[end - 1]))


def _workspace(trace: Trace, begin: int, end: int, output: int) -> int:
    """What a forward pass without saving needs in addition to its input and output."""
    part = _part(trace, begin, end)
    return max(part.peak - part.before - output, 0)
