"""A choice of calls as a plan, told by the blocks of the module."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from memprop.torch.checkpoint.blocks import blocks_of, is_in
from memprop.torch.checkpoint.curves import Candidate
from memprop.torch.checkpoint.host import Loaded
from memprop.torch.checkpoint.observed import SeenCall
from memprop.torch.checkpoint.plan import Block, CheckpointPlan, parameters_of
from memprop.torch.checkpoint.rehearsal import Rehearsal
from memprop.torch.checkpoint.values import Path
from memprop.traces.trace import Trace


def plan_of(
    module: nn.Module,
    step: Rehearsal,
    trace: Trace,
    candidate: Candidate,
    *,
    peak: int,
    slowdown: float,
    blocks: str | None,
) -> CheckpointPlan:
    """The plan of a candidate.

    Args:
        module: that it is for.
        step: what it was chosen in.
        trace: of that step.
        candidate: what runs again.
        peak: of the whole step, predicted.
        slowdown: predicted.
        blocks: the path of the list of blocks, if it is not for us to find.
    """
    calls = [call for call in step.seen.calls if call.forward == 0]
    sites = {
        call.number: trace.operators[call.operator].site for call in calls if call.operator >= 0
    }
    saved: Counter[str] = Counter()
    for call in calls:
        saved[sites.get(call.number, "")] += _saved(step, call)
    paths, counts = paths_of(step, candidate)
    again, offloaded = _parted(paths)
    return CheckpointPlan(
        module=type(module).__name__,
        parameters=parameters_of(module),
        again=again,
        offloaded=offloaded,
        offloaded_bytes=candidate.outcome.offloaded_bytes,
        counts={str(func): count for func, count in counts.items()},
        peak=peak,
        slowdown=slowdown,
        recomputed_flops=recomputed_flops(step, candidate),
        saved_bytes=candidate.outcome.saved_bytes,
        peak_without=step.plain_peak,
        blocks=tuple(
            _block(
                name,
                [call for call in calls if is_in(sites.get(call.number, ""), name)],
                step,
                candidate,
            )
            for name in blocks_of(module, saved, blocks)
        ),
        kept=_hindrances(calls, sites),
    )


def paths_of(
    step: Rehearsal, candidate: Candidate
) -> tuple[dict[Any, dict[int, Path]], dict[Any, int]]:
    """What is not kept, and how many calls of these operators a forward pass has."""
    again: dict[Any, dict[int, Path]] = defaultdict(dict)
    for number in sorted(candidate.choice):
        call = step.seen.calls[number]
        again[call.func][call.place] = candidate.choice[number]
    counts = Counter(call.func for call in step.seen.calls if call.forward == 0)
    named = sorted(again, key=str)
    return {func: again[func] for func in named}, {func: counts[func] for func in named}


def _parted(
    paths: Mapping[Any, Mapping[int, Path]],
) -> tuple[dict[str, dict[int, Path]], dict[str, tuple[int, ...]]]:
    """By the names of operators, the calls that run again, and those that are brought back."""
    again: dict[str, dict[int, Path]] = {}
    offloaded: dict[str, tuple[int, ...]] = {}
    for func, places in paths.items():
        brought = tuple(place for place, path in places.items() if isinstance(path, Loaded))
        if brought:
            offloaded[str(func)] = brought
        if len(brought) < len(places):
            own = {place: path for place, path in places.items() if place not in brought}
            again[str(func)] = own
    return again, offloaded


def recomputed_flops(step: Rehearsal, candidate: Candidate) -> int:
    """FLOPs of all that runs again in a step."""
    runs = candidate.outcome.runs.items()
    again = ((n, times) for n, times in runs if not isinstance(candidate.choice[n], Loaded))
    return sum(step.seen.calls[n].flops * times for n, times in again)


def _block(name: str, calls: Sequence[SeenCall], step: Rehearsal, candidate: Candidate) -> Block:
    runs, choice = candidate.outcome.runs, candidate.choice
    saved = sum(_saved(step, call) for call in calls)
    kept = sum(_kept(step, candidate, call) for call in calls)
    gone = [choice[call.number] for call in calls if call.number in choice]
    brought = {c.number for c in calls if isinstance(choice.get(c.number), Loaded)}
    return Block(
        block=name,
        runs=1 + max((runs.get(c.number, 0) for c in calls if c.number not in brought), default=-1),
        keeps="all" if not gone else "some" if kept else "nothing",
        depth=max(map(len, gone), default=0),
        saved_bytes=saved,
        kept_bytes=kept,
        forward_flops=sum(call.flops for call in calls),
        recomputed_flops=sum(
            call.flops * runs.get(call.number, 0) for call in calls if call.number not in brought
        ),
        offloaded_bytes=sum(_saved(step, call) for call in calls if call.number in brought),
    )


def _saved(step: Rehearsal, call: SeenCall) -> int:
    values = step.seen.values
    return sum(values[value].bytes for value in call.made if values[value].saves)


def _kept(step: Rehearsal, candidate: Candidate, call: SeenCall) -> int:
    if call.number in candidate.choice:
        return 0
    return sum(
        step.seen.values[value].bytes for value in call.made if value in candidate.outcome.kept
    )


def _hindrances(calls: Sequence[SeenCall], sites: dict[int, str]) -> tuple[str, ...]:
    found = dict.fromkeys(
        f"{sites.get(call.number) or 'the module'}: {call.hindrance}"
        for call in calls
        if call.hindrance
    )
    return tuple(found)
