"""The cached intermediates of a step: who made them, who reuses them, how long they live."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from memprop.terms import PERSISTENT, PHASES
from memprop.traces.events import ALLOCATE, FREE, READ

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
    events = trace.events
    columns = (events.kind, events.phase, events.operator, events.variable)
    found: list[Life] = []
    done: set[int] = set()
    last, backward = -1, None
    current: dict[int, Life] = {}
    for event, (kind, phase, operator, variable) in enumerate(
        zip(*(column.tolist() for column in columns), strict=True)
    ):
        if phase == _BACKWARD and backward is None:
            backward = event
        if operator != last:
            done.add(last)
            last = operator
        if kind == ALLOCATE:
            current[variable] = Life(variable, operator, event, phase)
            found.append(current[variable])
        elif kind == READ:
            # A forward operator that runs again for backward's sake reuses what was kept for it.
            kept = operator in done and current[variable].born < (backward or 0)
            current[variable].reads.append((event, operator, _BACKWARD if kept else phase))
        elif kind == FREE:
            current[variable].freed = event
    return found


class Intermediate(NamedTuple):
    """A forward variable that a backward operator reads.

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
        last_read: the last event that reads it.
        freed: the event that frees it; ``None`` if it outlives the step.
        recomputed: whether backward reads a value that was computed a second time.
        site: where in the user's program it was made; "" for a model of memprop.
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
    last_read: int
    freed: int | None
    recomputed: bool
    site: str


def find(trace: "Trace") -> list[Intermediate]:
    """The forward variables that a backward operator reads, in the order of birth.

    An input counts if the forward pass itself reads it: the samples do, the labels, which only
    the loss reads, do not. Parameters are there anyway and do not count.
    """
    by_variable: defaultdict[int, list[Life]] = defaultdict(list)
    for life in lives(trace):
        by_variable[life.variable].append(life)
    return [found for many in by_variable.values() for found in _reused(trace, many)]


def intermediates(trace: "Trace") -> "pd.DataFrame":
    """A row for each cached intermediate, with the columns of :class:`Intermediate`.

    Events are numbered as in the timeline. ``freed`` is missing where the variable outlives the
    step.
    """
    import pandas as pd

    frame = pd.DataFrame(find(trace), columns=pd.Index(Intermediate._fields))
    types = {"layer": "Int64", "last_read": "Int64", "freed": "Int64", "bytes": "int64"}
    return frame.astype(types)


def _reused(trace: "Trace", many: list[Life]) -> Iterator[Intermediate]:
    """The lives of one variable as an intermediate, if that is what it is."""
    first, variable = many[0], trace.variables[many[0].variable]
    operators = [operator for life in many for operator in life.reused_by]
    if not operators or variable.category in PERSISTENT:
        return
    if not _is_forward(variable.category, first):
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
        last_read=max(life.reads[-1][0] for life in many if life.reads),
        freed=many[-1].freed,
        recomputed=any(life.reused_by for life in many[1:]),
        site=variable.site,
    )


def _is_forward(category: str, life: Life) -> bool:
    if category == "input":
        return life.read_in_forward
    return life.born_phase in (_FORWARD, _LOSS)
