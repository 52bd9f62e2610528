"""budget:BYTES keeps to the budget, repeats little, and says what the smallest budget is."""

import itertools
from collections import Counter

import numpy as np
import pytest
from cases import BLOCKS, data, model, with_random_biases
from optional import thorough

import memprop as mp
from memprop.errors import InfeasibleBudget, InvalidValueError
from memprop.graph.autodiff import differentiate
from memprop.graph.operators.adam import Adam
from memprop.graph.optimizers import with_updates
from memprop.schedules.actions import Compute
from memprop.schedules.as_chain import chains
from memprop.schedules.budget import frontier, priced
from memprop.schedules.check import check
from memprop.schedules.every import every
from memprop.schedules.live import bytes_while_running, live_bytes
from memprop.schedules.optimal import frontier_plans
from memprop.schedules.order import in_order, useful_places
from memprop.schedules.revolve import revolve
from memprop.schedules.selective import selective


def smallest(mlp, batch, **how):
    with pytest.raises(InfeasibleBudget) as caught:
        mp.simulate(mlp, batch, schedule="budget:1", **how)
    return caught.value.smallest


@pytest.mark.parametrize("activation", ["relu", "gelu", "sigmoid", "identity"])
@pytest.mark.parametrize("optimizer", [None, "adam"])
def test_it_keeps_to_the_budget_and_beats_what_has_a_name(activation, optimizer):
    mlp = with_random_biases(model(9, 32, 8, 3, activation=activation))
    x, y = data(mlp, batch=48)
    how = {"optimizer": optimizer}
    lean = mp.simulate(mlp, len(x), **how)
    gradients = mp.trace(mlp, x, y).outputs["gradients"]
    names = ["sqrt", *(f"every:{k}" for k in range(1, 11)), *(f"revolve:{c}" for c in range(1, 11))]
    named = [mp.simulate(mlp, len(x), schedule=name, **how) for name in names]
    low = smallest(mlp, len(x), **how)
    before = None
    for budget in np.linspace(low, lean.peak, 7).astype(int).tolist():
        schedule = f"budget:{budget}"
        step = mp.Step(mlp, len(x), schedule, allocator="heap", **how)
        check(step.schedule)
        trace = mp.simulate(mlp, len(x), schedule=schedule, **how)
        assert trace.peak == step.schedule.peak <= budget
        extra = trace.about["recomputed_flops"]
        for other in named:
            assert other.peak > budget or extra <= other.about["recomputed_flops"]
        if optimizer is None:
            step(x, y)
            assert step.trace == trace
            for name, gradient in gradients.items():
                np.testing.assert_array_equal(step.gradients[name], gradient)
        before = extra
    assert before == 0


def test_the_loosest_budget_is_lean():
    for activation, optimizer in itertools.product(("relu", "gelu"), (None, "sgd")):
        mlp = model(5, activation=activation)
        lean = mp.Step(mlp, 8, "lean", optimizer=optimizer).schedule
        for budget in (lean.peak, 10 * lean.peak):
            loose = mp.Step(mlp, 8, f"budget:{budget}", optimizer=optimizer).schedule
            assert (loose.graph, loose.actions) == (lean.graph, lean.actions)
        assert mp.Step(mlp, 8, f"budget:{lean.peak - 1}", optimizer=optimizer).schedule != lean


def test_the_chain_counts_what_the_graph_counts():
    for activation, l2 in itertools.product(("relu", "tanh", "gelu"), (0.0, 0.1)):
        mlp = mp.MLP([40, *[64] * 12, 10], activation=activation, l2=l2)
        graph = with_updates(differentiate(mlp.graph()), Adam())
        for view in chains(graph, 128):
            for plan in frontier_plans(view.chain):
                real = priced(graph, 128, view, plan)
                assert real.peak <= plan.peak + view.fixed_bytes <= 1.01 * real.peak


@thorough
@pytest.mark.parametrize("blocks", BLOCKS)
def test_the_frontier_falls_and_no_strategy_with_a_name_beats_a_budget(blocks):
    mlp = mp.MLP([64, *[64] * 9, 10], **BLOCKS[blocks])
    graph = differentiate(mlp.graph())
    points = [(one.peak, one.flops) for one in frontier(graph, 256)]
    assert [peak for peak, _ in points] == sorted({peak for peak, _ in points})
    assert [flops for _, flops in points] == sorted({flops for _, flops in points}, reverse=True)
    for row in mp.frontier(mlp, 256)[::2].itertuples():
        found = mp.schedule(mlp, 256, f"budget:{row.peak_bytes}")
        assert found.peak <= row.peak_bytes
        assert found.recomputed_flops <= row.forward_flops_recomputed


def test_layers_of_many_parts_keep_their_products_and_compute_the_rest_again():
    mlp = mp.MLP([64, *[128] * 12, 10], norm="layer", residual=True, dropout=0.1)
    lean, selective = (mp.schedule(mlp, 512, name) for name in ("lean", "selective"))
    forward = {op.name: op.rule for op in lean.graph.operators if op.phase == "forward"}
    runs = Counter(action.operator for action in selective.computes())
    again = {rule for name, rule in forward.items() if runs[name] > 1}
    assert again == {"layer_norm", "relu", "dropout"}  # no product, no sum
    assert selective.recomputed_flops < 0.02 * lean.flops
    assert selective.peak < 0.76 * lean.peak
    # And a budget finds that, or better.
    assert mp.schedule(mlp, 512, f"budget:{selective.peak}").flops <= selective.flops
    plain = mp.MLP([64, *[128] * 12, 10])
    assert mp.schedule(plain, 512, "selective").actions == mp.schedule(plain, 512).actions


@pytest.mark.parametrize("activation", ["gelu", "silu"])
def test_activations_are_computed_again_before_products_are(activation):
    mlp = mp.MLP([64, *[128] * 12, 10], activation=activation)
    lean, selective = (mp.schedule(mlp, 512, name) for name in ("lean", "selective"))
    forward = {op.name: op.rule for op in lean.graph.operators if op.phase == "forward"}
    for schedule in (selective, mp.schedule(mlp, 512, f"budget:{selective.peak}")):
        runs = Counter(action.operator for action in schedule.computes())
        assert {rule for name, rule in forward.items() if runs[name] > 1} == {activation}
    one = 4 * 128 * 512
    assert lean.peak - selective.peak >= 10 * one  # h of twelve layers, but for those at the peak
    assert selective.recomputed_flops <= 0.01 * lean.flops


def test_a_budget_in_percent_is_a_share_of_lean():
    mlp = mp.MLP([64, *[64] * 12, 10])
    lean = mp.simulate(mlp, 256)
    for percent in (100, 85, 70):
        share = mp.simulate(mlp, 256, schedule=f"budget:{percent}%")
        same = mp.simulate(mlp, 256, schedule=f"budget:{lean.peak * percent // 100}")
        assert share.peak == same.peak <= lean.peak * percent // 100
        assert share.about["schedule"] == f"budget:{percent}%"
    for wrong in ("0%", "101%", "-5%", "1.5%", "x%", "%"):
        with pytest.raises(InvalidValueError, match="whole number from 1 to 100"):
            mp.simulate(mlp, 256, schedule=f"budget:{wrong}")
    with pytest.raises(InfeasibleBudget):
        mp.simulate(mlp, 256, schedule="budget:1%")


@pytest.mark.parametrize("budget", ["0", "-3", "x", "0 MiB", "", "0+microbatch:2"])
def test_impossible_budgets_are_one_clear_line(budget):
    with pytest.raises(ValueError, match=r"size in bytes|more than 0 bytes") as caught:
        mp.simulate(model(2), 8, schedule=f"budget:{budget}")
    assert "\n" not in str(caught.value)


def test_a_budget_below_the_parameters_names_one_that_works():
    mlp = model(4, 64)
    parameters = sum(array.nbytes for array in mlp.parameters.values())
    with pytest.raises(InfeasibleBudget, match=r"no schedule fits .* is \d+ bytes \([\d.]+ KiB\)"):
        mp.simulate(mlp, 16, schedule=f"budget:{parameters - 1}")
    least = smallest(mlp, 16)
    assert mp.simulate(mlp, 16, schedule=f"budget:{least}").peak == least > parameters


@thorough
def test_capacity_under_a_budget():
    mlp = model(6, 32)
    schedule = "budget:64KiB"
    largest = mp.max_batch(mlp, "64 KiB", schedule=schedule)
    assert mp.max_batch(mlp, "64 KiB") < largest
    peaks = mp.peak_bytes(mlp, [1, largest], schedule=schedule)
    assert peaks.max() <= 64 * 1024
    with pytest.raises(InfeasibleBudget):
        mp.peak_bytes(mlp, largest + 1, schedule=schedule)
    x, y = data(mlp, batch=largest + 3)  # and what is left over is planned for itself
    mlp.fit(x, y, batch=largest, epochs=1, schedule="budget:256KiB")


@thorough
@pytest.mark.parametrize("activation", ["relu", "silu"])
@pytest.mark.parametrize("optimizer", [None, "adam"])
def test_a_budget_for_a_batch_in_slices(activation, optimizer):
    mlp = with_random_biases(model(9, 32, 8, 3, activation=activation))
    x, y = data(mlp, batch=256)
    how = {"optimizer": optimizer}
    sliced = mp.schedule(mlp, 256, "microbatch:4", **how)
    gradients = mp.trace(mlp, x, y, schedule="microbatch:4").outputs["gradients"]
    kinds = [
        "sqrt",
        "selective",
        *(f"every:{k}" for k in (2, 4)),
        *(f"revolve:{c}" for c in (2, 5)),
    ]
    named = [mp.schedule(mlp, 256, f"{kind}+microbatch:4", **how) for kind in kinds]
    with pytest.raises(InfeasibleBudget) as caught:
        mp.schedule(mlp, 256, "budget:1+microbatch:4", **how)
    low = caught.value.smallest
    for budget in np.linspace(low, sliced.peak, 5).astype(int).tolist():
        name = f"budget:{budget}+microbatch:4"
        found = mp.schedule(mlp, 256, name, **how)
        check(found)
        assert (found.name, found.micro_batches) == (name, 4)
        assert found.peak <= budget
        assert all(other.peak > budget or found.flops <= other.flops for other in named)
        if optimizer is None:
            trace = mp.trace(mlp, x, y, schedule=name)
            assert trace.peak == found.peak
            for parameter, gradient in gradients.items():
                np.testing.assert_array_equal(trace.outputs["gradients"][parameter], gradient)
    assert found.recomputed_flops == 0
    share = mp.schedule(mlp, 256, "budget:90%+microbatch:4", **how)
    assert share.peak <= 0.9 * mp.schedule(mlp, 256, **how).peak
    with pytest.raises(ValueError, match="cannot be taken in 4 equal micro-batches"):
        mp.schedule(mlp, 2, "budget:1MiB+microbatch:4")


@thorough
def test_capacity_under_a_budget_in_slices():
    mlp = model(2, 16)
    whole, sliced = (
        mp.max_batch(mlp, 9000, schedule=f"budget:9000{m}") for m in ("", "+microbatch:2")
    )
    assert sliced % 2 == 0
    assert 0 < whole < sliced
    assert mp.peak_bytes(mlp, sliced, schedule="budget:9000+microbatch:2") <= 9000


@thorough
@pytest.mark.parametrize("widths", [[64, 1, 1, 10], [64, 2, 2, 2, 2, 10], [64, 1, 1, 1, 1, 1, 10]])
def test_the_smallest_budget_in_slices_that_an_error_names_works(widths):
    mlp = mp.MLP(widths, activation="silu", norm="layer")
    with pytest.raises(InfeasibleBudget) as caught:
        mp.schedule(mlp, 96, "budget:1+microbatch:8")
    smallest = caught.value.smallest
    assert mp.schedule(mlp, 96, f"budget:{smallest}+microbatch:8").peak <= smallest


@pytest.mark.parametrize("name", ["lean", "budget:1GiB", "budget:50%", "sqrt+microbatch:2"])
def test_sizes_beyond_what_can_be_counted_are_one_clear_line(name):
    mlp = mp.MLP([64, 16, 10])
    with pytest.raises(InvalidValueError, match="would take more than 2\\^63 bytes"):
        _ = mp.schedule(mlp, 2**70, name).peak
    with pytest.raises(InvalidValueError, match="would take more than 2\\^63 bytes"):
        mp.frontier(mlp, 2**70)


@pytest.mark.parametrize("name", ["every:", "revolve:", "microbatch:", "budget:", "budget:0"])
def test_numbers_of_thousands_of_digits_are_refused(name):
    with pytest.raises(InvalidValueError):
        mp.schedule(mp.MLP([4, 4, 4]), 8, name + "9" * 5000 + ("%" if name == "budget:0" else ""))


@pytest.mark.parametrize("update", ["at_end", "in_backward"])
@pytest.mark.parametrize("blocks", [{}, *BLOCKS.values()], ids=str)
def test_planners_price_an_order_as_its_actions_are_counted(blocks, update):
    forward = model(depth=9, activation="sigmoid", l2=0.1, **blocks).graph()
    graph = with_updates(differentiate(forward), Adam(), update)
    for order in (graph.operators, every(graph, 3), revolve(graph, 2), selective(graph)):
        order = [order[place] for place in useful_places(graph, order)]
        actions = in_order(graph, order)
        counted = live_bytes(graph, actions, 6).during
        running = counted[[isinstance(action, Compute) for action in actions]]
        assert bytes_while_running(graph, 6, order).tolist() == running.tolist()
