"""The events of a step, told from its schedule by a naive interpreter.

It shares no code with the engine: of memprop it sees the graph and the schedule, as data. What it
goes by is the definition:

- what no operator makes is there first, in the order of the graph's variables;
- an operator gives birth to its results, then to its scratch: each in a buffer of its own, or in
  that of the operand that it is written over. Then it reads its operands. Then what it was
  written over dies, in the order of the schedule, and its scratch;
- what is freed belongs to the operator that ran last; behind the last operator, to the end.
"""

from typing import NamedTuple


class Event(NamedTuple):
    """One event.

    Attributes:
        kind: "allocate", "read" or "free".
        phase: by name.
        operator: by name; ``None`` before the first and after the last.
        variable: by name.
        buffer: counted from 0, in the order in which buffers are first used.
        bytes: of the buffer.
    """

    kind: str
    phase: str
    operator: str | None
    variable: str
    buffer: int
    bytes: int


class Told(NamedTuple):
    """The events of a step, and of each the instruction (0 is the setup) that it belongs to."""

    events: list[Event]
    instructions: list[int]


ITEM_BYTES = {"float32": 4, "float64": 8, "int64": 8, "bool": 1}


def tell(schedule, batch):
    """What ``schedule`` does with ``batch`` samples."""
    samples = batch // schedule.micro_batches
    sizes = {variable.name: _bytes(variable, samples) for variable in schedule.graph.variables}
    operators = {operator.name: operator for operator in schedule.graph.operators}
    made = {n for op in operators.values() for n in (*op.outputs, *op.workspace)}
    told, homes, buffers = Told([], []), {}, []

    def happen(kind, phase, operator, variable, instruction):
        buffer = homes[variable]
        told.events.append(Event(kind, phase, operator, variable, buffer, buffers[buffer]))
        told.instructions.append(instruction)

    def fresh(variable):
        homes[variable] = len(buffers)
        buffers.append(sizes[variable])

    for name in (v.name for v in schedule.graph.variables if v.name not in made):
        fresh(name)
        happen("allocate", "setup", None, name, 0)
    last = max(n for n, action in enumerate(schedule.actions, 1) if hasattr(action, "operator"))
    here = ("setup", None)
    for place, action in enumerate(schedule.actions, 1):
        if not hasattr(action, "operator"):
            where = here if place < last else ("end", None)
            happen("free", *where, action.variable, place)
            del homes[action.variable]
            continue
        operator = operators[action.operator]
        here = (operator.phase, operator.name)
        for name in (*operator.outputs, *operator.workspace):
            over = [operand for target, operand in action.into if target == name]
            if over:
                homes[name] = homes[over[0]]
            else:
                fresh(name)
            happen("allocate", *here, name, place)
        for name in operator.inputs:
            happen("read", *here, name, place)
        for name in (*(operand for _, operand in action.into), *operator.workspace):
            happen("free", *here, name, place)
            del homes[name]
    return told


def _bytes(variable, samples):
    size = ITEM_BYTES[variable.dtype]
    for extent in variable.shape:
        size *= samples if extent == "batch" else extent
    return size


def live(events, category_of):
    """Live bytes by category after each event: each buffer counts once, for its oldest variable."""
    inside, found = {}, []
    for event in events:
        if event.kind == "allocate":
            inside.setdefault(event.buffer, []).append(event)
        elif event.kind == "free":
            inside[event.buffer] = [e for e in inside[event.buffer] if e[3] != event.variable]
        account = {}
        for held in inside.values():
            if held:
                category = category_of[held[0].variable]
                account[category] = account.get(category, 0) + held[0].bytes
        found.append(account)
    return found
