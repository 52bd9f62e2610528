"""What a stage can compute again: every way that is the best for some price of a byte, no other."""

import itertools
import random

import pytest


@pytest.fixture(scope="module")
def mpt(torch):
    import memprop.torch

    return memprop.torch


def branched(torch, x, weights):
    """A few operators that read one another's results in an order of chance."""
    values = [x]
    for kind, first, second, weight in weights:
        one, other = values[first % len(values)], values[second % len(values)]
        if kind == "product":
            values.append(one @ weight)
        elif kind == "sum":
            values.append(one + other)
        else:
            values.append(torch.tanh(one) * 2)
    return torch.cat(values[1:]).square()


def step_of(torch, seed):
    """An observed step of a small random module."""
    from memprop.torch.checkpoint.planning import planning

    chance = torch.Generator().manual_seed(seed)

    def drawn(most):
        return int(torch.randint(most, (1,), generator=chance))

    kinds = [("product", "sum", "pointwise")[drawn(3)] for _ in range(4)]
    widths = [(8, 8) for _ in kinds]

    class Random(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weights = torch.nn.ParameterList(torch.randn(*shape) for shape in widths)
            self.plan = [(kind, drawn(8), drawn(8)) for kind in kinds]

        def forward(self, x):
            told = [(*plan, w) for plan, w in zip(self.plan, self.weights, strict=True)]
            return branched(torch, x, told)

    return planning(Random(), torch.randn(4, 8, requires_grad=True), cost="flops")


def what_it_comes_to(step, again):
    """Kept bytes and cost if these units run again where they are needed, by the definition."""
    values = step.seen.values
    wanted = [value.number for value in values if value.saves and value.call >= 0]
    kept, ran, seen = 0, set(), set()
    while wanted:
        value = wanted.pop()
        if value in seen:
            continue
        seen.add(value)
        unit = step.unit_of[values[value].call]
        if unit not in again:
            kept += values[value].bytes
            continue
        if unit not in ran:
            ran.add(unit)
            for call in unit:
                wanted += [v for v in step.seen.calls[call].inputs if values[v].call >= 0]
    return kept, sum(step.costs[call] for unit in ran for call in unit), frozenset(ran)


def hull(points):
    """The corners of the lower convex hull, from the most bytes to the least."""
    best = {}
    for size, cost in points:
        best[size] = min(cost, best.get(size, cost))
    corners = []
    for point in sorted(best.items()):
        if corners and point[1] >= corners[-1][1]:
            continue
        while len(corners) > 1:
            (x0, y0), (x1, y1), (x2, y2) = corners[-2], corners[-1], point
            if (y1 - y0) * (x2 - x0) < (y2 - y0) * (x1 - x0):
                break
            corners.pop()
        corners.append(point)
    return set(corners)


@pytest.mark.parametrize("seed", range(12))
def test_every_best_way_is_found(torch, mpt, seed):
    from memprop.torch.checkpoint.stages import Stage
    from memprop.torch.checkpoint.ways import ways_of

    with step_of(torch, seed) as planned:
        step = planned.step
        calls = tuple(call.number for call in step.seen.calls)
        units = sorted({step.unit_of[c] for c in calls if step.can_run_again[c]})
        assert len(units) <= 12
        every = [
            what_it_comes_to(step, frozenset(chosen))[:2]
            for count in range(len(units) + 1)
            for chosen in itertools.combinations(units, count)
        ]
        ways = ways_of(step, Stage(calls, frozenset(), frozenset()), most=100)
        found = [what_it_comes_to(step, {step.unit_of[c] for c in way}) for way in ways]
    assert hull(every) <= {(size, cost) for size, cost, _ in found}
    for before, after in itertools.pairwise(ways):
        assert before < after


def random_network(ways, rng):
    """Calls and values as of a stage: kept for their bytes, or made again for a cost."""
    import networkx

    graph = networkx.DiGraph()
    graph.add_nodes_from([ways._START, ways._END])
    count = rng.randint(3, 6)
    can = [rng.random() < 0.85 for _ in range(count)]
    for number in range(count):
        call, value = (ways._CALL, (number,)), ("value", number)
        if can[number]:
            graph.add_edge(call, ways._END, cost=rng.choice([1, 2, 3, 5, 10, 40]))
        if can[number] and rng.random() < 0.15:
            graph.add_edge(value, call)
        else:
            kept = {"bytes": rng.choice([1, 2, 4, 8])}
            graph.add_edge(value, call if can[number] else ways._END, **kept)
        if rng.random() < 0.5:
            graph.add_edge(ways._START, value)
        for before in range(number if can[number] else 0):
            if rng.random() < 0.35:
                graph.add_edge(call, ("value", before))
    return graph


def costs_of_every_cut(ways, graph, price):
    """What all cuts of a network cost, by the definition."""
    places = [place for place in graph if place not in (ways._START, ways._END)]
    for count in range(len(places) + 1):
        for chosen in itertools.combinations(places, count):
            needed = {ways._START, *chosen}
            edges = [e for a in needed for b, e in graph[a].items() if b not in needed]
            if all(ways._is_finite(edge) for edge in edges):
                yield sum(edge.get("bytes", 0) * price + edge.get("cost", 0) for edge in edges)


def test_a_cut_of_what_is_not_sure_is_a_minimum_cut_of_all(torch, mpt, monkeypatch):
    from memprop.torch.checkpoint import ways

    best, cuts = ways._best, 0
    for seed in range(60):
        graph = random_network(ways, random.Random(seed))
        highest = ways._highest_price(graph)
        if highest is None:
            continue

        whole = graph.copy()

        def held(part, price, sure=(), graph=graph, whole=whole):
            nonlocal cuts
            found = best(part, price, sure)
            least = min(costs_of_every_cut(ways, whole, price))
            assert found.cost + price * found.bytes == pytest.approx(least)
            cuts += part is not graph
            return found

        monkeypatch.setattr(ways, "_best", held)
        low, high = ways._kept(graph), held(graph, highest)
        list(ways._between(graph, low, high, 10))
    assert cuts > 100


def test_the_whole_pass_is_put_in_order_from_cheap_bytes_to_dear_ones(torch, mpt):
    from memprop.torch.checkpoint.graded import graded_units
    from memprop.torch.checkpoint.planning import planning

    blocks = [
        part
        for _ in range(3)
        for part in (torch.nn.Linear(32, 32), torch.nn.GELU(), torch.nn.LayerNorm(32))
    ]
    with planning(torch.nn.Sequential(*blocks), torch.randn(16, 32)) as planned:
        step = planned.step
        ways = graded_units(step)
        names = [
            [step.seen.calls[call].func.name() for unit in way for call in unit] for way in ways
        ]
        order = [unit[0] for way in ways for unit in way]
        assert sorted(order) == sorted({unit[0] for way in ways for unit in way})
    assert "aten::addmm" not in names[0]
    assert set(names[-1]) == {"aten::addmm"}


def test_saved_bytes_can_be_held_against_a_budget_instead_of_the_peak(torch, mpt):
    from memprop.torch.checkpoint.planning import planning

    blocks = [part for _ in range(6) for part in (torch.nn.Linear(32, 32), torch.nn.GELU())]
    with planning(torch.nn.Sequential(*blocks), torch.randn(16, 32)) as planned:
        plain = planned.step.of({})
        half = planned.candidates.within(plain.saved_bytes // 2, lambda one: one.saved_bytes)
        none = planned.candidates.within(-1, lambda one: one.saved_bytes)
    assert half is not None
    assert half.outcome.saved_bytes <= plain.saved_bytes // 2
    # The six activations are as large as the six products, and cheap: they go, and one product.
    products = [call for call, times in half.outcome.runs.items() if planned.step.costs[call] > 1e4]
    assert len(products) <= 1
    assert none is None
