"""The least FLOPs of a short graph within a budget: Dijkstra over sets, nothing left out.

Every forward operator may run at any time, with or without writing over what it may write over,
and every value may be dropped at any time; backward operators run once, in order, after the loss.
"""

import heapq
from itertools import count


def least_flops(graph, batch, budget):
    """FLOPs of the whole step, or None if nothing fits."""
    size = graph.bytes_at(batch)
    begin = next(i for i, op in enumerate(graph.operators) if op.phase == "backward")
    forward, backward = graph.operators[:begin], graph.operators[begin:]
    inputs = {v.name for v in graph.sources if v.category == "input"}
    values = inputs | {name for op in forward for name in op.outputs}
    asked_for = {name for name in values if graph.survives(name)}
    beside = _bytes_beside(graph, backward, values, size)
    order, start = count(), (frozenset(inputs), 0)
    costs, queue = {start: 0}, [(0, next(order), start)]
    while queue:
        cost, _, (live, place) = heapq.heappop(queue)
        if cost > costs[live, place]:
            continue
        if place == len(backward) and asked_for <= live:
            return cost
        room = budget - beside[place][0] - sum(size[name] for name in live)
        found = [(0, live - {name}, place) for name in live - asked_for]
        here = [(op, 0, *_alone(op, size)) for op in forward if live.isdisjoint(op.outputs)]
        here += [
            (op, 1, *beside[place][1:]) for op in backward[place : place + 1] if asked_for <= live
        ]
        for op, step, new, over in here:
            thens = _after(graph, op, live, values, room, new, size, over)
            found += [(graph.flops(op).at(batch), then, place + step) for then in thens]
        for flops, then, after in found:
            if cost + flops < costs.get((then, after), float("inf")):
                costs[then, after] = cost + flops
                heapq.heappush(queue, (cost + flops, next(order), (then, after)))
    return None


def _alone(op, size):
    return sum(size[name] for name in op.outputs + op.workspace), ()


def _after(graph, op, live, values, room, new, size, over):
    if not live >= values.intersection(op.inputs):
        return
    made = live | values.intersection(op.outputs)
    if new <= room:
        yield made
    for target, operand in graph.overwrites(op).where_dead:
        free = operand in values and target not in over and not graph.survives(operand)
        if free and new - size[target] <= room:
            yield made - {operand}


def _bytes_beside(graph, backward, values, size):
    """For each place the bytes of all that is no forward value, the new ones, and what is over it.

    Without an optimizer: gradients alone come and go.
    """
    last = {name: place for place, op in enumerate(backward) for name in op.inputs + op.outputs}
    live = {v.name for v in graph.sources if v.name not in values}
    rows = []
    for place, op in enumerate(backward):
        held = sum(size[name] for name in live)
        dying = {n for n in live if last.get(n, -1) == place and not graph.survives(n)}
        over = dict(graph.overwrites(op).always)
        for target, operand in graph.overwrites(op).where_dead:
            if operand in dying and target not in over and operand not in over.values():
                over[target] = operand
        made = [name for name in op.outputs + op.workspace if name not in over]
        rows.append((held, sum(size[name] for name in made), over))
        live = (live | set(op.outputs)) - set(over.values())
        live -= {n for n in live if last.get(n, -1) == place and not graph.survives(n)}
    return [*rows, (sum(size[name] for name in live), 0, {})]
