"""From an order of a training step to its schedule, as a whole or in micro-batches."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from memprop.graph.autodiff import differentiate
from memprop.graph.graph import Graph, Operator
from memprop.graph.micro_batches import in_micro_batch, micro_batch_of, sliced
from memprop.graph.optimizers import Optimizer, with_updates
from memprop.schedules.order import in_order
from memprop.schedules.schedule import Schedule

Order = Callable[[Graph], Sequence[Operator]]
"""From the graph of a training step to its operators in the order in which they run."""


def as_built(graph: Graph) -> tuple[Operator, ...]:
    """The order in which the operators stand in the graph: nothing is computed twice."""
    return graph.operators


def in_that_order(
    name: str,
    order: Order,
    forward: Graph,
    optimizer: Optimizer | None = None,
    update: str = "at_end",
    micro_batches: int = 1,
) -> Schedule:
    """The schedule that runs a training step in an order, freeing each value at its last use.

    Args:
        name: how a user names the schedule.
        order: which operators run, and run again, when.
        forward: the forward pass of a model.
        optimizer: updates the parameters.
        update: when it does; one of :data:`memprop.terms.UPDATES`.
        micro_batches: into how many micro-batches the batch is taken; each runs in that order.
    """
    if micro_batches == 1:
        graph = with_updates(differentiate(forward), optimizer, update)
        return Schedule(name=name, graph=graph, actions=in_order(graph, order(graph)))
    pattern = order(differentiate(forward))
    graph = with_updates(differentiate(sliced(forward, micro_batches)), optimizer, update)
    ordered = tuple(_one_by_one(graph, pattern, micro_batches))
    return Schedule(
        name=name, graph=graph, actions=in_order(graph, ordered), micro_batches=micro_batches
    )


def _one_by_one(
    graph: Graph, pattern: Sequence[Operator], micro_batches: int
) -> Iterator[Operator]:
    """``pattern``, an order for one micro-batch, for each micro-batch of ``graph`` in turn.

    What the micro-batches share (sums of gradients, the penalty) runs as soon as it can, updates at
    the end.
    """
    shared = _Shared(graph)
    yield from shared.ready()
    for number in range(1, micro_batches + 1):
        for operator in pattern:
            own = graph.operators_by_name.get(_copied(operator, graph, number))
            if own is not None:
                yield own
                yield from shared.ready(own)
    yield from (operator for operator in graph.operators if operator.phase == "update")


def _copied(operator: Operator, graph: Graph, number: int) -> str:
    """The name in micro-batch ``number`` of an operator of the pattern.

    A backward operator is named after the forward operator and the variable it differentiates by,
    ``linear_2.dh1``; parameters are the same variables in every micro-batch.
    """
    source, dot, target = operator.name.partition(".d")
    if not dot:
        return in_micro_batch(source, number)
    shared = target in graph.by_name
    return (
        f"{in_micro_batch(source, number)}.d{target if shared else in_micro_batch(target, number)}"
    )


class _Shared:
    """The operators that belong to no micro-batch, handed out when what they read is there."""

    def __init__(self, graph: Graph) -> None:
        there = {variable.name for variable in graph.sources}
        self.missing: dict[str, set[str]] = {}
        self.readers: defaultdict[str, list[Operator]] = defaultdict(list)
        self.free: list[Operator] = []
        for operator in graph.operators:
            if operator.phase == "update" or _belongs_to_a_micro_batch(operator):
                continue
            missing = set(operator.inputs) - there
            self.missing[operator.name] = missing
            for name in missing:
                self.readers[name].append(operator)
            if not missing:
                self.free.append(operator)

    def ready(self, done: Operator | None = None) -> Iterator[Operator]:
        """What can run now that ``done`` has run, in an order in which it can."""
        pending = [done] if done is not None else self.free
        while pending:
            current = pending.pop(0)
            if current is not done:
                yield current
            for name in current.outputs:
                for reader in self.readers.pop(name, ()):
                    self.missing[reader.name].discard(name)
                    if not self.missing[reader.name]:
                        pending.append(reader)


def _belongs_to_a_micro_batch(operator: Operator) -> bool:
    source, _, _ = operator.name.partition(".")
    return micro_batch_of(source)[1] is not None
