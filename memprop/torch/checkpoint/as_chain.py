"""The planner's view of an observed step: its stages as a chain, each with several ways."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np

from memprop.schedules.chain import Chain, Way
from memprop.schedules.measured import Part, measured_chain
from memprop.torch.checkpoint.rehearsal import Outcome, Rehearsal
from memprop.torch.checkpoint.run_through import Choice
from memprop.torch.checkpoint.stages import Cutting, Stage, stages_of
from memprop.torch.checkpoint.ways import Again, ways_of_all
from memprop.traces.trace import Trace

_LOSS_BYTES = 4

_Span = tuple[int, int]
"""The events from one on, up to but without another."""


@dataclass(frozen=True)
class StepChain:
    """A step as a chain.

    Attributes:
        step: the step.
        stages: those of the chain but the last one, which is all that comes after the module.
        again: for each stage and each of its ways, the calls that run again in its backward.
        chain: costs in the unit of the step's, sizes in bytes.
    """

    step: Rehearsal
    stages: list[Stage]
    again: list[list[Again]]
    chain: Chain


def as_chain(step: Rehearsal, trace: Trace, cutting: Cutting) -> StepChain | None:
    """See a step as a chain of stages; ``None`` if nothing in it can be computed again.

    Args:
        step: the step.
        trace: of the step.
        cutting: how its forward pass is cut into stages.
    """
    stages = stages_of(step, cutting)
    if not stages:
        return None
    again = _asked_for(step, ways_of_all(step, stages))
    spans = _Spans.of(step, stages, trace)
    chains = [_measured(step, stages, spans, chosen) for chosen in _together(again)]
    ways = [
        [_way(step, chains[way], stage, again[stage][way]) for way in range(1, len(again[stage]))]
        for stage in range(len(stages))
    ]
    return StepChain(step, stages, again, replace(chains[0], ways=(*ways, ())))


def _together(again: Sequence[Sequence[Again]]) -> Iterator[list[Again]]:
    """The ways of all stages with the same number; the last one of a stage that has fewer."""
    for way in range(max(map(len, again))):
        yield [ways[min(way, len(ways) - 1)] for ways in again]


def _asked_for(step: Rehearsal, again: Sequence[Sequence[Again]]) -> list[list[Again]]:
    """The ways without calls that nobody asks for, each once."""
    found: list[list[Again]] = [[] for _ in again]
    for chosen in _together(again):
        runs = step.of(_choice(chosen)).runs
        for ways, one in zip(found, chosen, strict=True):
            asked = frozenset(call for call in one if runs.get(call))
            if asked not in ways:
                ways.append(asked)
    return found


def _choice(chosen: Sequence[Again]) -> Choice:
    """Each stage by itself."""
    return {call: (stage,) for stage, again in enumerate(chosen) for call in again}


@dataclass(frozen=True)
class _Spans:
    """When the forward and the backward of each stage run, what comes after the module included."""

    forward: list[_Span]
    backward: list[_Span]

    @classmethod
    def of(cls, step: Rehearsal, stages: Sequence[Stage], trace: Trace) -> "_Spans":
        begins = [step.seen.calls[stage.calls[0]].begin for stage in stages]
        after = step.seen.calls[stages[-1].calls[-1]].end
        back = _first_event(trace, "backward")
        forward = list(zip([*begins, after], [*begins[1:], after, back], strict=True))
        asked = _first_asked(step, stages)
        return cls(forward, list(zip([*asked, back], [_last(step), *asked], strict=True)))


def _first_event(trace: Trace, phase: str) -> int:
    return int(np.argmax(trace.events.phase == trace.phases.index(phase)))


def _last(step: Rehearsal) -> int:
    """The event at which the last node of the first pass has let go of what it saved."""
    first = {call.number for call in step.seen.calls if call.forward == 0}
    released = (save.released for save in step.seen.saves if save.call in first)
    return max(released, default=step.events - 1) + 1


def _first_asked(step: Rehearsal, stages: Sequence[Stage]) -> list[int]:
    """For each stage the event at which a node of it, or of one before it, first asks."""
    ends = [stage.calls[-1] for stage in stages]
    found = [_last(step)] * len(stages)
    for save in step.seen.saves:
        stage = bisect_left(ends, save.call)
        if save.asked >= 0 and stage < len(stages):
            found[stage] = min(found[stage], save.asked)
    return list(accumulate(found, min))


def _measured(
    step: Rehearsal, stages: Sequence[Stage], spans: _Spans, chosen: Sequence[Again]
) -> Chain:
    """The chain whose stages have these ways."""
    outcome = step.of(_choice(chosen))
    outputs = [_size(step, stage.handed_on - stage.skipping) for stage in stages]
    workspace = [
        max(int(step.live[begin:end].max()) - _before(step.live, begin) - size, 0)
        for (begin, end), size in zip(spans.forward, outputs, strict=False)
    ]
    return measured_chain(
        [_part(outcome, *span) for span in spans.forward],
        [_part(outcome, *span) for span in spans.backward],
        inputs=[0, *outputs],
        output=_LOSS_BYTES,
        forward_workspace=[*workspace, 0],
        forward_cost=[*(sum(step.costs[call] for call in stage.calls) for stage in stages), 0],
        backward_cost=[0] * (len(stages) + 1),
    )


def _way(step: Rehearsal, chain: Chain, stage: int, again: Again) -> Way:
    return Way(
        saved_bytes=chain.saved_bytes[stage],
        backward_cost=sum(step.costs[call] for call in again),
        backward_workspace=chain.backward_workspace[stage],
        saving_workspace=chain.saving_workspace[stage],
    )


def _size(step: Rehearsal, values: Iterable[int]) -> int:
    return sum(step.seen.values[value].bytes for value in values)


def _before(live: np.ndarray, event: int) -> int:
    return int(live[event - 1]) if event > 0 else 0


def _part(outcome: Outcome, begin: int, end: int) -> Part:
    before = _before(outcome.live, begin)
    if end <= begin:
        return Part(before, before, before)
    return Part(before, max(before, int(outcome.most[begin:end].max())), int(outcome.live[end - 1]))
