"""The search over single operators finds the least recomputation of all, where graphs are short."""

import random

import pytest
from cases import BLOCKS, OPTIMIZERS, model
from graph_oracle import least_flops
from optional import seeds, thorough

import memprop as mp
from memprop.graph.autodiff import differentiate
from memprop.graph.optimizers import with_updates
from memprop.schedules.check import check
from memprop.schedules.live import live_bytes
from memprop.schedules.order import in_order
from memprop.schedules.schedule import Schedule
from memprop.schedules.search import LONGEST, search

ACTIVATIONS = ["relu", "tanh", "gelu", "silu"]


def some_net(seed):
    rng = random.Random(seed)
    widths = [rng.randint(2, 40) for _ in range(rng.randint(2, 4))] + [rng.randint(2, 9)]
    return mp.MLP(
        widths if rng.random() < 0.6 else [16] * len(widths),
        activation=rng.choice(ACTIVATIONS),
        bias=rng.random() < 0.5,
        loss=rng.choice(["cross_entropy", "mse"]),
        residual=rng.random() < 0.5,
        norm=rng.choice([None, None, "layer"]) if len(widths) < 4 else None,
    )


def peak_and_flops(graph, batch, order):
    actions = in_order(graph, order)
    check(Schedule(name="searched", graph=graph, actions=actions))
    flops = sum(graph.flops(operator).at(batch) for operator in order)
    return live_bytes(graph, actions, batch).peak, flops


@thorough
@pytest.mark.parametrize("seed", seeds(12, 24))
def test_it_finds_what_an_exhaustive_search_finds(seed):
    graph, batch = differentiate(some_net(seed).graph()), random.Random(seed).choice([8, 64])
    lean, flops = peak_and_flops(graph, batch, graph.operators)
    rng = random.Random(seed)
    for budget in (lean, *(rng.randint(lean // 2, lean) for _ in range(4))):
        found, least = search(graph, batch, budget, states=10**9), least_flops(graph, batch, budget)
        assert found.complete
        assert (found.order is None) == (least is None)
        if found.order is not None:
            peak, flops = peak_and_flops(graph, batch, found.order)
            assert peak <= budget
            assert flops == least


@pytest.mark.parametrize("seed", range(12))
def test_a_budget_of_a_short_network_is_the_optimum(seed):
    mlp, batch = some_net(seed), 64
    graph = differentiate(mlp.graph())
    with pytest.raises(mp.InfeasibleBudget) as caught:
        mp.schedule(mlp, batch, "budget:1")
    low, high = caught.value.smallest, mp.schedule(mlp, batch).peak
    assert least_flops(graph, batch, low - 1) is None
    for budget in {low, (low + high) // 2, (low + 3 * high) // 4}:
        found = mp.schedule(mlp, batch, f"budget:{budget}")
        assert found.flops == least_flops(graph, batch, budget)


@thorough
@pytest.mark.parametrize("blocks", BLOCKS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("update", ["at_end", "in_backward"])
def test_its_peak_is_that_of_the_schedule_whatever_a_layer_is_made_of(blocks, optimizer, update):
    mlp = model(2, 24, 9, **BLOCKS[blocks])
    graph = with_updates(differentiate(mlp.graph()), OPTIMIZERS[optimizer], update)
    lean, most = peak_and_flops(graph, 64, graph.operators)
    for budget in (lean, lean * 19 // 20, lean * 9 // 10):
        order = search(graph, 64, budget).order
        if order is not None:
            peak, flops = peak_and_flops(graph, 64, order)
            assert peak <= budget
            assert flops >= most
            # What it takes for the bytes of a state are those of the schedule: a byte less than
            # the peak of the result, and the same result is found no more.
            again = search(graph, 64, peak - 1).order
            assert again is None or peak_and_flops(graph, 64, again)[0] < peak
    assert search(graph, 64, lean).order is not None


def test_it_is_not_tried_on_long_graphs_and_gives_up_in_time():
    long = differentiate(model(LONGEST, 8).graph())
    assert search(long, 8, 10**9) == (None, False)
    short = differentiate(model(4, 32).graph())
    lean, _ = peak_and_flops(short, 64, short.operators)
    assert search(short, 64, lean * 9 // 10, states=3) == (None, False)
    assert search(short, 64, lean, below=1) == (None, True)
