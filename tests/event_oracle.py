"""The events of a step, told from its schedule by a naive interpreter.

It shares no code with the engine: of memprop it sees the graph and the schedule, as data. What it
goes by is the definition:

- what no operator makes is there first, in the order of the graph's variables;
- an operator gives birth to its results, then to its scratch: each in a buffer of its own, or in
  that of the operand that it is written over. Then it reads its operands. Then what it was
  written over dies, in the order of the schedule, and its scratch;
- what is freed belongs to the operator that ran last; behind the last operator, to the end;
- what is stored is born on disk and read in memory, in the phase of the operator that ran last;
  what is loaded is born in memory, read on disk and dies there, in the phase of the next operator.
  Each is an operator of its own.
"""

from typing import NamedTuple


class Event(NamedTuple):
    """One event.

    Attributes:
        kind: "allocate", "read" or "free".
        phase: by name.
        operator: by name; ``None`` before the first and after the last.
        variable: by name.
        buffer: counted from 0 on each device, in the order in which buffers are first used.
        bytes: of the buffer.
        device: where the buffer is.
    """

    kind: str
    phase: str
    operator: str | None
    variable: str
    buffer: int
    bytes: int
    device: str = "cpu"


class Told(NamedTuple):
    """The events of a step, and of each the instruction (0 is the setup) that it belongs to."""

    events: list[Event]
    instructions: list[int]


ITEM_BYTES = {"float32": 4, "float64": 8, "int64": 8, "bool": 1}


def tell(schedule, batch):
    """What ``schedule`` does with ``batch`` samples."""
    teller = _Teller(schedule, batch // schedule.micro_batches)
    for place, action in enumerate(schedule.actions, 1):
        does = str(action).split()[0]  # compute, free, store or load
        getattr(teller, does)(action, place)
    return teller.told


class _Teller:
    """The interpreter: where it is, what lives in which buffer, and what it has told so far."""

    def __init__(self, schedule, samples):
        graph, self.actions = schedule.graph, schedule.actions
        self.told = Told([], [])
        self.homes, self.buffers = {"cpu": {}, "disk": {}}, {"cpu": [], "disk": []}
        self.sizes = {variable.name: _bytes(variable, samples) for variable in graph.variables}
        self.operators = {operator.name: operator for operator in graph.operators}
        self.last = max(n for n, a in enumerate(self.actions, 1) if hasattr(a, "operator"))
        made = {n for op in graph.operators for n in (*op.outputs, *op.workspace)}
        self.here = ("setup", None)
        for name in (v.name for v in graph.variables if v.name not in made):
            self.fresh(name)
            self.happen("allocate", name, 0)

    def compute(self, action, place):
        operator = self.operators[action.operator]
        self.here = (operator.phase, operator.name)
        home = self.homes["cpu"]
        for name in (*operator.outputs, *operator.workspace):
            over = [operand for target, operand in action.into if target == name]
            if over:
                home[name] = home[over[0]]
            else:
                self.fresh(name)
            self.happen("allocate", name, place)
        for name in operator.inputs:
            self.happen("read", name, place)
        for name in (*(operand for _, operand in action.into), *operator.workspace):
            self.happen("free", name, place)
            del home[name]

    def free(self, action, place):
        if place > self.last:
            self.here = ("end", None)
        self.happen("free", action.variable, place)
        del self.homes["cpu"][action.variable]

    def store(self, action, place):
        name = action.variable
        self.here = (self.here[0], f"store {name}")
        self.fresh(name, "disk")
        self.happen("allocate", name, place, "disk")
        self.happen("read", name, place)

    def load(self, action, place):
        name = action.variable
        following = next(a.operator for a in self.actions[place:] if hasattr(a, "operator"))
        self.here = (self.operators[following].phase, f"load {name}")
        self.fresh(name)
        self.happen("allocate", name, place)
        self.happen("read", name, place, "disk")
        self.happen("free", name, place, "disk")
        del self.homes["disk"][name]

    def fresh(self, variable, device="cpu"):
        self.homes[device][variable] = len(self.buffers[device])
        self.buffers[device].append(self.sizes[variable])

    def happen(self, kind, variable, instruction, device="cpu"):
        buffer = self.homes[device][variable]
        size = self.buffers[device][buffer]
        self.told.events.append(Event(kind, *self.here, variable, buffer, size, device))
        self.told.instructions.append(instruction)


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
