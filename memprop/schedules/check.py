"""The reference machine: it walks a schedule and says whether it can be run."""

from collections.abc import Mapping

from memprop.errors import DeadReadError, DoubleFreeError, LeakError, ScheduleError
from memprop.graph.graph import Graph, Operator
from memprop.schedules.actions import Compute, Free, Load, Store
from memprop.schedules.schedule import Schedule
from memprop.schedules.walk import walk
from memprop.terms import PERSISTENT


def check(schedule: Schedule) -> None:
    """Raise unless ``schedule`` is legal: every read live, every variable freed once, none leaked.

    What is on disk must be loaded before the step ends: else it was stored for nothing.

    Raises:
        DeadReadError: an operator reads a variable that is not live, or one is stored that is
            not, or loaded that is not on disk.
        DoubleFreeError: a variable is freed that is not live.
        LeakError: a variable nobody asked for is alive at the end, or still on disk.
        ScheduleError: anything else that cannot be done; the message names operator and variable.
    """
    graph = schedule.graph
    live: Mapping[str, int] = {}
    stored: Mapping[str, int] = {}
    for moment in walk(graph, schedule.actions):
        action, live, stored = moment.action, moment.live, moment.stored
        if isinstance(action, Compute):
            _check_compute(graph, action, moment.operator, live)
        elif isinstance(action, Free):
            _check_free(graph, action, live)
        elif isinstance(action, Store):
            _check_store(schedule, action, live, stored)
        else:
            _check_load(action, live, stored)
    _check_end(graph, live, stored)


def _check_compute(
    graph: Graph, action: Compute, operator: Operator | None, live: Mapping[str, int]
) -> None:
    if operator is None:
        raise ScheduleError(f"the graph has no operator {action.operator!r}")
    for name in operator.inputs:
        if name not in live:
            raise DeadReadError(f"{operator.name} reads {name}, which is not live")
    for name in operator.outputs:
        if name in live:
            raise ScheduleError(f"{operator.name} computes {name}, which is still live")
    _check_into(graph, operator, action)


def _check_into(graph: Graph, operator: Operator, action: Compute) -> None:
    definition = operator.definition
    always = operator.pairs(definition.updates)
    allowed = {*always, *operator.pairs(definition.in_place)}
    for pair in always:
        if pair not in action.into:
            raise ScheduleError(f"{operator.name} must write {pair[0]} over {pair[1]}")
    for target, operand in action.into:
        if (target, operand) not in allowed:
            raise ScheduleError(f"{operator.name} cannot write {target} over {operand}")
        if not graph.by_name[target].spec.fits(graph.by_name[operand].spec):
            raise ScheduleError(f"{target} does not fit into the buffer of {operand}")
        if (target, operand) not in always and graph.survives(operand):
            raise ScheduleError(f"{operator.name} overwrites {operand}, which outlives the step")
    if len({operand for _, operand in action.into}) < len(action.into):
        raise ScheduleError(f"{operator.name} writes two variables over one")
    if len({target for target, _ in action.into}) < len(action.into):
        raise ScheduleError(f"{operator.name} writes one variable over two")


def _check_free(graph: Graph, action: Free, live: Mapping[str, int]) -> None:
    variable = graph.by_name.get(action.variable)
    if variable is None:
        raise ScheduleError(f"the graph has no variable {action.variable!r}")
    if action.variable not in live:
        raise DoubleFreeError(f"{action.variable} is freed, but it is not live")
    if variable.category in PERSISTENT:
        raise ScheduleError(f"{action.variable} outlives the step and cannot be freed")


def _check_store(
    schedule: Schedule, action: Store, live: Mapping[str, int], stored: Mapping[str, int]
) -> None:
    name = action.variable
    if name not in live:
        raise DeadReadError(f"{name} is stored, but it is not live")
    if name in stored:
        raise ScheduleError(f"{name} is stored, but it is on disk already: load it first")
    if schedule.folder is None:
        raise ScheduleError(
            f"{name} is stored, but the schedule names no folder: make it with folder='...'"
        )


def _check_load(action: Load, live: Mapping[str, int], stored: Mapping[str, int]) -> None:
    name = action.variable
    if name not in stored:
        raise DeadReadError(f"{name} is loaded, but it is not on disk: store it first")
    if name in live:
        raise ScheduleError(f"{name} is loaded, but it is still live: free it first")


def _check_end(graph: Graph, live: Mapping[str, int], stored: Mapping[str, int]) -> None:
    for name in sorted(stored):
        raise LeakError(
            f"{name} is still on disk at the end of the step: load it, or do not store it"
        )
    for name in graph.outputs:
        if name not in live:
            raise ScheduleError(f"the output {name} is not live at the end of the step")
    producers = {name: op.name for op in graph.operators for name in op.outputs}
    for name in sorted(live):
        if not graph.survives(name):
            origin = producers.get(name, "the caller")
            raise LeakError(f"{name}, made by {origin}, is still live at the end of the step")
