"""A trace made of what tracemalloc saw, where nothing was watched.

tracemalloc is sampled at the boundaries of phases. Each stretch between two of them has, for each
site, a variable of what was born in it and lives at its end; of buffers that are alike the oldest
is taken to die first. ``temporaries`` is what the traced peak, which counts Python objects, rises
above the larger of the stretch's two ends. There are no reads, and so no intermediates:
:meth:`memprop.Profiler.cached` lists what was kept.
"""

from bisect import bisect_left
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from memprop.errors import InvalidValueError
from memprop.profiler.ledger import CATEGORY_OF_PHASE
from memprop.profiler.phases import Boundary, PhaseLog, label
from memprop.profiler.tracing import Block, Sample
from memprop.terms import OUTSIDE, PHASES
from memprop.traces.about import About
from memprop.traces.cut import Mark, cut
from memprop.traces.recorder import Recorder
from memprop.traces.steps import Survivor
from memprop.traces.trace import Trace

_FOREVER: Final = -1


class _Buffer(NamedTuple):
    """A buffer, and the stretches in which it is born and dies, by number."""

    block: Block
    birth: int
    death: int


class _Cohort(NamedTuple):
    """Buffers of one site that are born in one stretch and die in one; stretches by number."""

    birth: int
    death: int
    site: str


def sampled_trace(log: PhaseLog, about: About) -> Trace:
    """The trace of the boundaries in ``log``.

    Raises:
        InvalidValueError: no array lived at any boundary.
    """
    recorder, _ = _told(log.boundaries)
    if not len(recorder):
        raise InvalidValueError(
            "there is nothing to trace: no phase was entered, or no array lived when one began or "
            "ended. Open one by `with prof.phase('forward'):`, or watch an array"
        )
    return recorder.trace(about)


def sampled_steps(log: PhaseLog, ends: Sequence[int], about: About) -> list[Trace]:
    """A trace for each step; ``ends`` are the boundaries at which steps end."""
    recorder, told = _told(log.boundaries)
    if not len(recorder):
        _flash(recorder, 0, PHASES[0], 0)  # a trace of nothing at all
    began = log.boundaries[0].nanoseconds
    marks = [Mark(told[end], log.boundaries[end].nanoseconds - began) for end in ends]
    return cut(recorder.trace(about), marks)


def sampled_survivors(log: PhaseLog, ends: Sequence[int]) -> Iterator[Survivor]:
    """The buffers of finished steps that live at the last boundary, by the line that made them.

    Where that is the end of the last step, its buffers are left out: the loop's own variables hold
    them still. A buffer that takes the place of one that is alike counts as that one.
    """
    if ends and ends[-1] == len(log.boundaries) - 1:
        ends = ends[:-1]
    if not ends:
        return
    for buffer in _buffers(log.boundaries):
        if buffer.death == _FOREVER and 0 < buffer.birth <= ends[-1]:
            yield Survivor(
                step=bisect_left(ends, buffer.birth),
                bytes=buffer.block.bytes,
                category=_category(log.boundaries, buffer.birth),
                operator="",
                module="",
                line=buffer.block.site,
            )


def _told(boundaries: Sequence[Boundary]) -> tuple[Recorder, list[int]]:
    """The events of the boundaries, and how many there are after each of these."""
    recorder, after = Recorder(), list[int]()
    cohorts = _cohorts(boundaries)
    variables = {
        cohort: _introduce(recorder, cohort, size, boundaries)
        for cohort, size in sorted(cohorts.items())
    }
    for place in range(len(boundaries)):
        born = [variables[cohort] for cohort in cohorts if cohort.birth == place]
        dead = [variables[cohort] for cohort in cohorts if cohort.death == place]
        _tell(recorder, boundaries, place, born, dead)
        after.append(len(recorder))
    return recorder, after


def _cohorts(boundaries: Sequence[Boundary]) -> dict[_Cohort, int]:
    """Bytes of each cohort."""
    found: Counter[_Cohort] = Counter()
    for block, birth, death in _buffers(boundaries):
        found[_Cohort(birth, death, block.site)] += block.bytes
    return found


def _buffers(boundaries: Sequence[Boundary]) -> Iterator[_Buffer]:
    """Every buffer, from what grew and what shrank at each boundary."""
    births: defaultdict[Block, deque[int]] = defaultdict(deque)
    before: Counter[Block] = Counter()
    for place, boundary in enumerate(boundaries):
        blocks = boundary.sample.blocks
        for block, count in (before - blocks).items():
            for _ in range(count):
                yield _Buffer(block, births[block].popleft(), place)
        for block, count in (blocks - before).items():
            births[block].extend([place] * count)
        before = blocks
    for block, places in births.items():
        for birth in places:
            yield _Buffer(block, birth, _FOREVER)


def _introduce(
    recorder: Recorder, cohort: _Cohort, size: int, boundaries: Sequence[Boundary]
) -> int:
    category = _category(boundaries, cohort.birth)
    return recorder.variable(cohort.site, category, (size,), "uint8", size, site=cohort.site)


def _category(boundaries: Sequence[Boundary], place: int) -> str:
    """The category of what is born in the stretch that ends at a boundary."""
    if place == 0:
        return "input"
    return CATEGORY_OF_PHASE.get(_phase(boundaries, place), "workspace")


def _tell(
    recorder: Recorder,
    boundaries: Sequence[Boundary],
    place: int,
    born: Sequence[int],
    dead: Sequence[int],
) -> None:
    """The events of the stretch that ends at a boundary.

    Deaths come before births: how far they overlap is not known, and so the stretch reaches its
    peak by the temporaries alone, at its larger end.
    """
    phase, at = _phase(boundaries, place), boundaries[place].nanoseconds - boundaries[0].nanoseconds
    sample = boundaries[place].sample
    before = boundaries[place - 1].sample if place else sample
    scratch = _temporaries(before, sample) if place else 0
    falls = before.numpy_bytes > sample.numpy_bytes
    if scratch and falls:
        _flash(recorder, scratch, phase, at)
    for variable in dead:
        recorder.free(variable, variable, recorder.variables[variable].bytes, phase, at=at)
    for variable in born:
        recorder.allocate(variable, variable, recorder.variables[variable].bytes, phase, at=at)
    if scratch and not falls:
        _flash(recorder, scratch, phase, at)


def _temporaries(before: Sample, after: Sample) -> int:
    return max(0, after.peak_bytes - max(before.traced_bytes, after.traced_bytes))


def _flash(recorder: Recorder, size: int, phase: str, at: int) -> None:
    """Bytes that come and go within a stretch."""
    variable = recorder.variable("temporaries", "workspace", (size,), "uint8", size)
    recorder.allocate(variable, variable, size, phase, at=at)
    recorder.free(variable, variable, size, phase, at=at)


def _phase(boundaries: Sequence[Boundary], place: int) -> str:
    """The phase of the stretch that ends at a boundary."""
    path = boundaries[place].path
    if path:
        return label(path)
    return OUTSIDE if place else PHASES[0]
