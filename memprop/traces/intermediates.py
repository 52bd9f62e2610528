"""The cached intermediates of a step: who made them, who reuses them, how long they live."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from memprop.terms import PERSISTENT, PHASES
from memprop.traces.devices import loads
from memprop.traces.events import READ
from memprop.traces.passes import next_backward, parts

if TYPE_CHECKING:
    import pandas as pd

    from memprop.traces.trace import Trace

_FORWARD, _LOSS, _BACKWARD = (PHASES.index(name) for name in ("forward", "loss", "backward"))


@dataclass
class Life:
    """A variable from birth to death, in event numbers.

    Attributes:
        variable: its index in the trace.
        maker: the operator that computed it; -1 for what the step was given.
        born: the event of its allocation.
        reads: event, operator and phase of every read; the phase is backward too where a forward
            operator runs again for backward's sake.
        freed: the event of its death; ``None`` if it outlives the step.
    """

    variable: int
    maker: int
    born: int
    born_phase: int
    reads: list[tuple[int, int, int]] = field(default_factory=list)
    freed: int | None = None

    @property
    def reused_by(self) -> list[int]:
        """The backward operators that read it, in order, and those that run again for them."""
        return [operator for _, operator, phase in self.reads if phase == _BACKWARD]

    @property
    def reused_at(self) -> list[int]:
        """The events of these reads."""
        return [event for event, _, phase in self.reads if phase == _BACKWARD]

    @property
    def read_in_forward(self) -> bool:
        """Whether the forward pass itself reads it."""
        return any(phase == _FORWARD for _, _, phase in self.reads)


def lives(trace: "Trace") -> list[Life]:
    """Every life of every variable, in the order of birth; one that is computed again has more."""
    events, table = trace.events, trace.lives
    order = np.argsort(table.born)
    born, died, variable = table.born[order], table.died[order], table.variable[order]
    part = parts(trace)
    columns = (variable, events.operator[born], born, part[born])
    found = [Life(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]
    for number in np.flatnonzero(died < len(events)).tolist():
        found[number].freed = int(died[number])
    at = np.flatnonzero(events.kind == READ)
    life = _life_of(events.variable[at], at, variable, born)
    phase = np.where(_reuses(trace, at, born[life]), _BACKWARD, part[at])
    columns = (life, at, events.operator[at], phase)
    for number, *read in zip(*(column.tolist() for column in columns), strict=True):
        found[number].reads.append((read[0], read[1], read[2]))
    return found


def _life_of(
    read: np.ndarray, at: np.ndarray, variable: np.ndarray, born: np.ndarray
) -> np.ndarray:
    """To which life each read belongs: the latest of its variable that has begun by then."""
    step = max(at.max(initial=0), born.max(initial=0)) + 1
    place = variable * step + born
    order = np.argsort(place)
    return order[np.searchsorted(place[order], read * step + at) - 1]


def _reuses(trace: "Trace", at: np.ndarray, born: np.ndarray) -> np.ndarray:
    """Which reads are those of a forward operator that runs again and reuses what was kept for it.

    They come after a backward pass began, of a value that was born before.
    """
    events = trace.events
    runs = np.cumsum(np.diff(events.operator, prepend=events.operator[0]) != 0)
    _, first, which = np.unique(events.operator, return_index=True, return_inverse=True)
    again = runs > runs[first][which]
    start = next_backward(trace, born)
    return again[at] & (at >= start) & (born < start)


class Intermediate(NamedTuple):
    """A forward variable that is kept for the backward pass, or computed or loaded again for it.

    Attributes:
        variable: its name.
        category: "activation", or "input" for the samples.
        layer: the layer it belongs to.
        shape: as it was.
        dtype: by name.
        bytes: its size.
        saved_by: the operator that computed it; "input" for what the step was given.
        reused_by: the backward operators that read it, in order, and the forward operators that
            run again for backward's sake.
        reuses: how many these are.
        born: the event of its allocation.
        last_read: the last event that reads it; ``None`` if none does.
        freed: the event that frees it; ``None`` if it outlives the step.
        recomputed: whether backward reads a value that was computed a second time.
        site: where in the user's program it was made; "" for a model of memprop.
        kept: whether it was alive, for backward's sake, when backward began.
        use: "reused" if backward reads it, "never read" if it was kept for nothing.
        offloaded: whether backward reads a value that was loaded from disk.
    """

    variable: str
    category: str
    layer: int | None
    shape: tuple[int, ...]
    dtype: str
    bytes: int
    saved_by: str
    reused_by: tuple[str, ...]
    reuses: int
    born: int
    last_read: int | None
    freed: int | None
    recomputed: bool
    site: str
    kept: bool
    use: str
    offloaded: bool


def find(trace: "Trace") -> list[Intermediate]:
    """The forward variables that are kept for backward, or that backward reads, by birth.

    Where a framework says what it held when backward began, that is what was kept. Elsewhere it is
    what backward reads of what was alive then, where an input counts if the forward pass itself
    reads it: the samples do, the labels, which only the loss reads, do not. Parameters are there
    anyway and do not count.
    """
    by_variable: defaultdict[int, list[Life]] = defaultdict(list)
    for life in lives(trace):
        by_variable[life.variable].append(life)
    groups = list(by_variable.values())
    starts = next_backward(trace, np.array([many[0].born for many in groups], dtype=np.int64))
    from_disk = loads(trace)
    return [
        row
        for many, start in zip(groups, starts.tolist(), strict=True)
        if start < len(trace.events)
        for row in _row(trace, many, start, from_disk)
    ]


def intermediates(trace: "Trace") -> "pd.DataFrame":
    """A row for each cached intermediate, with the columns of :class:`Intermediate`.

    Events are numbered as in the timeline. ``freed`` is missing where the variable outlives the
    step.
    """
    import pandas as pd

    frame = pd.DataFrame(find(trace), columns=pd.Index(Intermediate._fields))
    types = {"layer": "Int64", "last_read": "Int64", "freed": "Int64", "bytes": "int64"}
    return frame.astype(types)


def cached(trace: "Trace") -> "pd.DataFrame":
    """What is kept for backward, summed up by where it was made, the largest first.

    The columns are ``site`` (the operator that made it, where a model of memprop did), ``use``
    ("reused" or "never read"), ``bytes`` and ``count``.
    """
    import pandas as pd

    kept = [row for row in find(trace) if row.kept]
    rows = [(row.site or row.saved_by, row.use, row.bytes) for row in kept]
    frame = pd.DataFrame(rows, columns=pd.Index(["site", "use", "bytes"]))
    summed = frame.groupby(["site", "use"], as_index=False).agg(
        bytes=("bytes", "sum"), count=("bytes", "size")
    )
    return summed.sort_values(["bytes", "site"], ascending=[False, True], ignore_index=True)


def _row(
    trace: "Trace", many: list[Life], start: int, from_disk: frozenset[int]
) -> Iterator[Intermediate]:
    """The lives of one variable as an intermediate, if it is one.

    Args:
        trace: of the step.
        many: the lives.
        start: the event with which the backward pass begins that comes after the first life began.
        from_disk: the operators that load from disk.
    """
    first, variable = many[0], trace.variables[many[0].variable]
    operators = [operator for life in many for operator in life.reused_by]
    # A backward pass that makes a graph makes gradients that a further one reads.
    again = [life for life in many if life.reused_by and life.born >= start]
    offloaded = any(life.maker in from_disk for life in again)
    recomputed = variable.category != "activation_gradient" and any(
        life.maker not in from_disk for life in again
    )
    is_forward = _is_forward(variable.category, first)
    kept = variable.kept
    if kept is None:
        kept = is_forward and any(life.reused_by and _is_alive_at(life, start) for life in many)
    there_again = (recomputed and _is_forward_born(first)) or (offloaded and is_forward)
    if variable.category in PERSISTENT or not (kept or there_again):
        return
    yield Intermediate(
        variable=variable.name,
        category=variable.category,
        layer=variable.layer,
        shape=variable.shape,
        dtype=variable.dtype,
        bytes=variable.bytes,
        saved_by="input" if first.maker < 0 else trace.operators[first.maker].name,
        reused_by=tuple(trace.operators[operator].name for operator in operators),
        reuses=len(operators),
        born=first.born,
        # Its last life may be there for another result of its operator, and never read.
        last_read=max((life.reads[-1][0] for life in many if life.reads), default=None),
        freed=many[-1].freed,
        recomputed=recomputed,
        site=variable.site,
        kept=kept,
        use="reused" if operators else "never read",
        offloaded=offloaded,
    )


def _is_alive_at(life: Life, event: int) -> bool:
    return life.born < event and (life.freed is None or life.freed > event)


def _is_forward(category: str, life: Life) -> bool:
    if category == "input":
        return life.read_in_forward
    return _is_forward_born(life)


def _is_forward_born(life: Life) -> bool:
    return life.born_phase in (_FORWARD, _LOSS)
