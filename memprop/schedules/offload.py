"""``offload:DIR``: nothing is computed again; what backward reads much later waits on disk.

The order is that of "lean". A forward variable may be stored after its last use in forward and
loaded just before the backward operator that first reads it. Which are:

1. Candidates are all forward variables and inputs that backward reads, but those smaller than a
   sixty-fourth of the largest: a file for each costs more than it frees.
2. With all of them on disk in between, the step has the least peak that this way can reach.
3. Those stay in memory after all that do not raise that peak, the ones that are needed again
   soonest first. So the last ones before backward stay, and all of them where the peak is not
   theirs.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from memprop.errors import InvalidValueError
from memprop.graph.graph import Graph
from memprop.schedules.actions import Action, Compute, Free, Load, Store
from memprop.schedules.live import live_bytes
from memprop.schedules.recompute import as_built, in_that_order
from memprop.schedules.schedule import Schedule
from memprop.schedules.strategies import Request, Strategy

_SMALL: Final = 64
"""What is that many times smaller than the largest candidate stays in memory."""


class Gap(NamedTuple):
    """A stretch of a step in which a variable lives and nothing uses it.

    Attributes:
        variable: its name.
        last: the place of the action that used it last, in forward.
        next: the place of the action that uses it next, in backward.
    """

    variable: str
    last: int
    next: int


def offloaded(request: Request) -> Schedule:
    """The schedule that stores in the folder of a request what need not be in memory."""
    assert request.batch is not None  # noqa: S101 - what is worth it depends on the batch
    lean = in_that_order(
        request.name,
        as_built,
        request.forward,
        request.optimizer,
        request.update,
        request.micro_batches,
    )
    chosen = gaps_to_fill(lean.graph, lean.actions, request.batch // request.micro_batches)
    actions = tuple(_with_transfers(lean.actions, chosen))
    return replace(lean, actions=actions, folder=request.argument)


def gaps_to_fill(graph: Graph, actions: Sequence[Action], batch: int) -> list[Gap]:
    """The variables that lie on disk during their gaps: see the rule of this file."""
    sizes = graph.bytes_at(batch)
    every = list(_gaps(graph, actions))
    largest = max((sizes[gap.variable] for gap in every), default=0)
    gaps = [gap for gap in every if sizes[gap.variable] * _SMALL >= largest]
    live = live_bytes(graph, actions, batch).during
    for gap in gaps:
        live[gap.last + 1 : gap.next] -= sizes[gap.variable]
    peak, chosen = live.max(initial=0), []
    for gap in sorted(gaps, key=lambda gap: gap.next - gap.last):
        between = live[gap.last + 1 : gap.next]
        if between.max(initial=0) + sizes[gap.variable] <= peak:
            between += sizes[gap.variable]
        else:
            chosen.append(gap)
    return chosen


def _gaps(graph: Graph, actions: Sequence[Action]) -> Iterator[Gap]:
    """The gaps between forward and backward of all variables that have one."""
    used: dict[str, int] = {}
    for place, action in enumerate(actions):
        if not isinstance(action, Compute):
            continue
        operator = graph.operators_by_name[action.operator]
        names = [n for n in (*operator.inputs, *operator.outputs) if not graph.survives(n)]
        if operator.phase != "backward":
            used.update(dict.fromkeys(names, place))
            continue
        for name in dict.fromkeys(names):
            if name in used:
                yield Gap(name, used.pop(name), place)


def _with_transfers(actions: Sequence[Action], chosen: Sequence[Gap]) -> Iterator[Action]:
    """``actions`` with the chosen variables stored and freed, and loaded in time."""
    leaving, coming = defaultdict[int, list[str]](list), defaultdict[int, list[str]](list)
    for gap in chosen:
        leaving[gap.last].append(gap.variable)
        coming[gap.next].append(gap.variable)
    for place, action in enumerate(actions):
        yield from map(Load, coming[place])
        yield action
        for name in leaving[place]:
            yield Store(name)
            yield Free(name)


def _folder(text: str) -> str:
    """A path as the user wrote it."""
    if not text or "\0" in text:
        raise InvalidValueError(
            "schedule offload:... needs a folder to write to, as in 'offload:scratch', got "
            f"{text!r}"
        )
    return text


OFFLOAD: Final = Strategy(
    name="offload",
    plan=offloaded,
    number="DIR",
    counts="a folder",
    read=_folder,
    example="scratch",
    depends_on_batch=True,
    verbatim=True,
)
