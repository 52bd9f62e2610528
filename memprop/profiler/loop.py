"""The steps of a loop, at either level: watched arrays, or what tracemalloc saw."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from memprop.profiler.ledger import Ledger
from memprop.profiler.phases import PhaseLog
from memprop.profiler.sampled import sampled_steps, sampled_survivors
from memprop.traces.about import About
from memprop.traces.cut import Mark, cut, survivors
from memprop.traces.steps import Survivor
from memprop.traces.trace import Trace


@dataclass(frozen=True, slots=True)
class StepEnd:
    """The end of a step.

    Attributes:
        boundary: the number of the boundary in the log of phases.
        mark: the moment in the ledger of watched arrays.
    """

    boundary: int
    mark: Mark


def step_traces(
    log: PhaseLog, ledger: Ledger, ends: Sequence[StepEnd], about: About
) -> list[Trace]:
    """A trace for each step that has ended."""
    if not ends:
        return []
    if len(ledger):
        return cut(ledger.trace(about), [end.mark for end in ends])
    return sampled_steps(log, [end.boundary for end in ends], about)


def step_survivors(log: PhaseLog, ledger: Ledger, ends: Sequence[StepEnd]) -> Iterable[Survivor]:
    """The buffers of finished steps that are alive."""
    if not ends:
        return ()
    if len(ledger):
        return survivors(ledger.trace(About()), [end.mark for end in ends])
    return sampled_survivors(log, [end.boundary for end in ends])
