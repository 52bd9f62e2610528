"""A training step as a search sees it: forward values as bits, and what backward makes of memory.

Gradients, updated parameters and the scratch of kernels follow from the place in backward alone,
which runs once and in order; what may be dropped and computed again are the values of the forward
pass, and the inputs, which may be dropped.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import combinations
from typing import NamedTuple

from memprop.graph.graph import Graph, Operator


class Run(NamedTuple):
    """What running an operator asks for and gives.

    Attributes:
        operator: the operator.
        reads: the forward values that it reads.
        makes: the forward values that it makes.
        new: bytes that come to life with it, where no forward value is written over.
        over: sets of forward values that it may write over if they die here, each with the bytes
            that saves.
        flops: of one run.
        until: the place in backward after which a parameter that it reads is another.
    """

    operator: Operator
    reads: int
    makes: int
    new: int
    over: tuple[tuple[int, int], ...]
    flops: int
    until: int


@dataclass(frozen=True, eq=False)
class Space:
    """A training step for one batch size.

    Attributes:
        forward: the operators that can be run again.
        backward: those that run once, in order; updates among them.
        sizes: bytes of each forward value.
        fixed: for each place in backward the bytes of all that is no forward value.
        needed: for each place in backward the forward values that are read from there on, or that
            are asked for at the end.
        start: the values that are there from the beginning.
        lasting: the values that are asked for at the end, and never dropped.
        makers: what makes each value.
    """

    forward: tuple[Run, ...]
    backward: tuple[Run, ...]
    sizes: Mapping[int, int]
    fixed: tuple[int, ...]
    needed: tuple[int, ...]
    start: int
    lasting: int
    makers: Mapping[int, Run]
    _bytes: dict[int, int] = field(default_factory=dict)

    @property
    def backward_flops(self) -> int:
        """FLOPs of what runs once."""
        return sum(run.flops for run in self.backward)

    @cached_property
    def least_bytes(self) -> int:
        """No schedule needs less: what each backward operator asks for, and nothing else."""
        return max(
            fixed
            + self.bytes_of(run.reads)
            + run.new
            - max((less for _, less in run.over), default=0)
            for run, fixed in zip(self.backward, self.fixed, strict=False)
        )

    def bytes_of(self, values: int) -> int:
        """The bytes of a set of forward values."""
        known = self._bytes.get(values)
        if known is None:
            known = self._bytes[values] = sum(self.sizes[bit] for bit in bits(values))
        return known


def bits(values: int) -> Iterator[int]:
    """The single values of a set."""
    while values:
        bit = values & -values
        yield bit
        values &= ~bit


@lru_cache(maxsize=4)
def space_of(graph: Graph, batch: int) -> Space:
    """The training step ``graph`` for one value of the batch size."""
    return _Builder(graph, batch).build()


class _Builder:
    def __init__(self, graph: Graph, batch: int) -> None:
        self.graph, self.batch, self.size = graph, batch, graph.bytes_at(batch)
        begin = next(
            (i for i, operator in enumerate(graph.operators) if operator.phase == "backward"),
            len(graph.operators),
        )
        self.forward, self.backward = graph.operators[:begin], graph.operators[begin:]
        inputs = [v.name for v in graph.sources if v.category == "input"]
        values = [*inputs, *(name for operator in self.forward for name in operator.outputs)]
        self.bit = {name: 1 << place for place, name in enumerate(values)}
        self.start = self._bits(inputs)
        self.lasting = self._bits(name for name in values if graph.survives(name))
        self.persistent = {v.name for v in graph.sources} - set(inputs)
        last = {n: t for t, op in enumerate(self.backward) for n in (*op.inputs, *op.outputs)}
        self.last_use = last
        self.until = self._until()

    def build(self) -> Space:
        forward = tuple(self._run(op, self._new(op, ()), ()) for op in self.forward)
        fixed, backward = self._backward()
        needed = [self.lasting]
        for run in reversed(backward):
            needed.append(needed[-1] | run.reads)
        return Space(
            forward=forward,
            backward=backward,
            sizes={bit: self.size[name] for name, bit in self.bit.items()},
            fixed=fixed,
            needed=tuple(needed[::-1]),
            start=self.start,
            lasting=self.lasting,
            makers={bit: run for run in forward for bit in bits(run.makes)},
        )

    def _backward(self) -> tuple[tuple[int, ...], tuple[Run, ...]]:
        """Bytes at each place other than the forward values, and what runs there."""
        always = sum(self.size[name] for name in self.persistent)
        live: dict[str, int] = {}
        fixed, runs = [], []
        for place, operator in enumerate(self.backward):
            fixed.append(always + sum(live.values()))
            taken = self._taken(operator, live, place)
            runs.append(self._run(operator, self._new(operator, taken), taken))
            for name in operator.outputs:
                # What lies over a parameter is counted with the parameters.
                live[name] = 0 if taken.get(name) in self.persistent else self.size[name]
            for operand in taken.values():
                live.pop(operand, None)
            for name in (*operator.inputs, *operator.outputs):
                if self.last_use[name] == place and not self.graph.survives(name):
                    live.pop(name, None)
        return (*fixed, always + sum(live.values())), tuple(runs)

    def _taken(self, operator: Operator, live: dict[str, int], place: int) -> dict[str, str]:
        """What is written over the gradients and parameters that die here: target by target."""
        pairs = self.graph.overwrites(operator)
        taken = dict(pairs.always)
        for target, operand in pairs.where_dead:
            dies = operand in live and self.last_use[operand] == place
            free = target not in taken and operand not in taken.values()
            if dies and free and not self.graph.survives(operand):
                taken[target] = operand
        return taken

    def _new(self, operator: Operator, taken) -> int:
        made = (*operator.outputs, *operator.workspace)
        return sum(self.size[name] for name in made if name not in taken)

    def _run(self, operator: Operator, new: int, taken) -> Run:
        return Run(
            operator=operator,
            reads=self._bits(operator.inputs),
            makes=self._bits(operator.outputs),
            new=new,
            over=tuple(self._over(operator, taken)),
            flops=self.graph.flops(operator).at(self.batch),
            until=min((self.until.get(n, len(self.backward)) for n in operator.inputs), default=0),
        )

    def _over(self, operator: Operator, taken) -> Iterator[tuple[int, int]]:
        pairs = [
            (target, operand)
            for target, operand in self.graph.overwrites(operator).where_dead
            if target not in taken and operand in self.bit and not self.graph.survives(operand)
        ]
        for count in range(1, len(pairs) + 1):
            for chosen in combinations(pairs, count):
                targets, operands = ({*names} for names in zip(*chosen, strict=True))
                if len(targets) == len(operands) == count:
                    yield self._bits(operands), sum(self.size[name] for name in targets)

    def _until(self) -> dict[str, int]:
        """For each parameter the place in backward at which it is updated."""
        return {
            operand: place
            for place, operator in enumerate(self.backward)
            for _, operand in self.graph.overwrites(operator).always
            if operand in self.persistent
        }

    def _bits(self, names) -> int:
        return sum(self.bit[name] for name in dict.fromkeys(names) if name in self.bit)
