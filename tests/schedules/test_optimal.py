"""Plans through a chain: no schedule of their class costs less, none takes more than it may."""

from dataclasses import replace
from random import Random

import pytest
from chain_oracle import frontier
from hypothesis import given, settings
from hypothesis import strategies as st
from optional import seeds, thorough

import memprop as mp
from memprop.errors import InfeasibleBudget, InvalidTypeError, InvalidValueError, ScheduleError
from memprop.schedules import exact, least, optimal
from memprop.schedules.plan import BACKWARD, FORWARD, FULL, KEEPING, StageAction, replay

CHAINS_PER_SEED = 700


def random_chain(generator, stages, *, leaving=False):
    """Uneven in every respect; some sizes and workspaces are 0."""
    largest = generator.choice([3, 6, 20, 10**9])

    def sizes(often=1.0):
        return [
            generator.randint(0, largest) if generator.random() < often else 0
            for _ in range(stages)
        ]

    outputs = sizes(0.9)
    left = sizes(0.3) if leaving else [0] * stages
    return mp.Chain(
        forward_cost=[generator.randint(0, 9) for _ in range(stages)],
        backward_cost=[generator.randint(0, 9) for _ in range(stages)],
        input_bytes=generator.randint(0, largest),
        output_bytes=outputs,
        saved_bytes=[a + b for a, b in zip(outputs, sizes(), strict=True)],
        forward_workspace=sizes(0.4),
        backward_workspace=sizes(0.4),
        saving_workspace=sizes(0.4),
        retained_bytes=left,
    )


def uniform(stages, saved=2, **options):
    return mp.Chain(
        forward_cost=[1] * stages,
        backward_cost=[0] * stages,
        input_bytes=1,
        output_bytes=[1] * stages,
        saved_bytes=[saved] * stages,
        **options,
    )


@pytest.mark.parametrize("seed", seeds(1, 8))
def test_no_persistent_schedule_is_better_at_any_budget(seed):
    generator = Random(seed)
    for _ in range(CHAINS_PER_SEED):
        chain = random_chain(generator, generator.choice([1, 2, 3, 3, 4, 4, 5, 5, 6]))
        best = frontier(chain)
        table = mp.optimal_frontier(chain)
        assert list(table.itertuples(index=False, name=None)) == best
        for peak, cost in best:
            plan = mp.optimal(chain, max(peak, 1))
            assert (plan.peak, plan.cost) == (peak, cost)
            assert plan.optimal_in in (optimal.PERSISTENT, optimal.ALL)
        if best[0][0] > 1:
            with pytest.raises(InfeasibleBudget) as caught:
                mp.optimal(chain, best[0][0] - 1)
            assert caught.value.smallest == best[0][0]


@thorough
def test_with_bytes_left_behind_the_class_is_smaller_and_named():
    generator = Random(1)
    points = equal = 0
    for _ in range(CHAINS_PER_SEED):
        chain = random_chain(generator, generator.choice([2, 3, 4, 5, 6]), leaving=True)
        ours = [(plan.peak, plan.cost) for plan in optimal.frontier_plans(chain)]
        for peak, cost in frontier(chain):
            found = [c for p, c in ours if p <= peak]
            assert not found or found[-1] >= cost
            points += 1
            equal += bool(found) and found[-1] == cost
        if any(chain.retained_bytes):
            classes = {plan.optimal_in for plan in optimal.frontier_plans(chain)}
            assert classes <= {optimal.IN_TURN, optimal.ALL}
    assert equal > 0.99 * points


def test_a_forward_may_fit_before_a_gradient_is_left_and_not_after_it():
    chain = mp.Chain(
        forward_cost=[9, 5, 4, 1, 2],
        backward_cost=[5, 4, 1, 1, 4],
        input_bytes=19,
        output_bytes=[1, 7, 6, 1, 14],
        saved_bytes=[2, 26, 11, 4, 22],
        forward_workspace=[0, 0, 0, 0, 13],
        backward_workspace=[13, 0, 0, 0, 16],
        saving_workspace=[0, 20, 0, 0, 0],
        retained_bytes=[0, 0, 0, 17, 0],
    )
    assert (83, 45) in frontier(chain)
    plan = mp.optimal(chain, 83)
    assert (plan.cost, plan.optimal_in) == (46, optimal.IN_TURN)


def test_the_full_forward_is_held_against_the_gradient_that_is_live_then():
    # A widely copied table tests it against d_s instead of d_t and claims 38.
    chain = mp.Chain(
        forward_cost=[6, 5, 4, 6],
        backward_cost=[0, 0, 0, 0],
        input_bytes=2,
        output_bytes=[3, 4, 1, 3],
        saved_bytes=[7, 7, 5, 4],
        forward_workspace=[0, 0, 6, 0],
    )
    plan = mp.optimal(chain, 18)
    assert (plan.cost, plan.peak) == (42, 18)
    assert replay(chain, plan.actions) == (18, 42)


def test_the_search_over_other_schedules_has_gone_and_says_so():
    with pytest.warns(DeprecationWarning, match="leave persistent= out"):
        plan = mp.optimal(uniform(3), 6, persistent=False)
    assert plan == mp.optimal(uniform(3), 6)
    assert plan.cost == 5


@pytest.mark.parametrize("seed", range(4))
def test_the_grid_without_rounding_finds_the_same(seed, monkeypatch):
    generator = Random(seed)
    for _ in range(40):
        chain = random_chain(generator, generator.randint(1, 9))
        if max(chain.saved_bytes) > 40:
            continue
        steps = [(p.peak, p.cost) for p in optimal.frontier_plans(chain)]
        with monkeypatch.context() as patched:
            patched.setattr(exact, "LONGEST", 0)
            optimal.frontier_plans.cache_clear()
            optimal._persistent.cache_clear()
            assert [(p.peak, p.cost) for p in optimal.frontier_plans(chain)] == steps
            for peak, cost in steps:
                if peak:
                    assert mp.optimal(chain, peak).cost == cost
        optimal.frontier_plans.cache_clear()
        optimal._persistent.cache_clear()


@pytest.mark.parametrize("stages", [13, 30, 60])
def test_rounding_never_takes_more_than_the_budget(stages):
    generator = Random(stages)
    chain = random_chain(generator, stages)
    table = mp.optimal_frontier(chain, levels=200)
    least, most = int(table["peak_bytes"].iloc[0]), int(table["peak_bytes"].iloc[-1])
    assert table["cost"].iloc[-1] == sum(chain.forward_cost) + sum(chain.backward_cost)
    assert (table.diff().iloc[1:]["peak_bytes"] > 0).all()
    assert (table.diff().iloc[1:]["cost"] < 0).all()
    before = float("inf")
    for tenth in range(11):
        budget = least + (most - least) * tenth // 10
        plan = mp.optimal(chain, budget)
        assert replay(chain, plan.actions) == (plan.peak, plan.cost)
        assert plan.peak <= budget
        assert plan.cost <= before
        assert plan.lower_bound <= plan.cost
        before = plan.cost
    with pytest.raises(InfeasibleBudget, match=f"is {least} bytes") as caught:
        mp.optimal(chain, least - 1)
    assert mp.optimal(chain, caught.value.smallest).peak == least


def test_a_fine_grid_is_close_to_the_exact_solution(monkeypatch):
    generator = Random(3)
    chain = random_chain(generator, 12)
    steps = optimal.frontier_plans(chain)
    monkeypatch.setattr(exact, "LONGEST", 0)
    optimal._persistent.cache_clear()
    for plan in steps[1:-1]:
        rounded = mp.optimal(chain, plan.peak)
        assert plan.cost <= rounded.cost <= 1.1 * plan.cost
    optimal._persistent.cache_clear()


def test_what_is_left_behind_counts_to_the_end():
    kept = uniform(4, retained_bytes=[5, 5, 5, 5])
    free = uniform(4)
    assert mp.optimal(kept, 10**6).peak - mp.optimal(free, 10**6).peak >= 5
    assert mp.optimal_frontier(kept)["peak_bytes"].min() >= 20


def test_a_single_stage_has_one_plan():
    plan = mp.optimal(uniform(1), 4)
    assert [str(action) for action in plan.actions] == ["full forward 1", "backward 1"]
    with pytest.raises(InfeasibleBudget, match=r"is 4 bytes \(4 B\)"):
        mp.optimal(uniform(1), 3)


def test_huge_sizes_are_counted_exactly():
    chain = mp.Chain(
        forward_cost=[1.5] * 3,
        backward_cost=[0.5] * 3,
        input_bytes=2**58,
        output_bytes=[2**58 + 1] * 3,
        saved_bytes=[2**58 + 3] * 3,
    )
    plan = mp.optimal(chain, 2**61)
    assert plan.peak == 2**58 + 3 * (2**58 + 3) + 2**58 + 1


@thorough
@pytest.mark.parametrize("longest", [12, 0])  # solved exactly, and on the grid
@pytest.mark.parametrize("seed", range(2))
def test_what_a_backward_lets_go_of_is_there_until_it_runs(seed, longest, monkeypatch):
    monkeypatch.setattr(exact, "LONGEST", longest)
    generator = Random(seed)
    for _ in range(250):
        given = random_chain(generator, generator.randint(2, 6), leaving=True)
        chain = replace(
            given, retained_bytes=[generator.choice([-1, 1]) * b for b in given.retained_bytes]
        )
        optimal.frontier_plans.cache_clear()
        optimal._persistent.cache_clear()
        best = frontier(chain)
        for peak, cost in best:
            plan = mp.optimal(chain, max(peak, 1))
            assert plan.peak <= max(peak, 1)
            assert plan.cost >= cost
        if best[0][0] > 1:
            with pytest.raises(InfeasibleBudget) as caught:
                mp.optimal(chain, best[0][0] - 1)
            assert mp.optimal(chain, caught.value.smallest).peak <= caught.value.smallest
    optimal.frontier_plans.cache_clear()
    optimal._persistent.cache_clear()


@pytest.mark.parametrize("stages", [3, 13, 40])
def test_a_budget_below_the_input_is_refused_however_long_the_chain(stages):
    chain = mp.Chain(
        forward_cost=[1] * stages,
        backward_cost=[0] * stages,
        input_bytes=10,
        output_bytes=[0] * stages,
        saved_bytes=[0] * stages,
    )
    with pytest.raises(InfeasibleBudget) as caught:
        mp.optimal(chain, 5)
    assert caught.value.smallest == 10
    assert mp.optimal(chain, 10).peak == 10


@pytest.mark.parametrize("stages", [5, 20])  # solved exactly, and on the grid
@pytest.mark.parametrize("levels", [0, -5, 1.5, True, "many"])
def test_impossible_levels_are_refused(levels, stages):
    with pytest.raises((InvalidValueError, InvalidTypeError), match="levels must be a positive"):
        mp.optimal_frontier(uniform(stages), levels=levels)


def test_nothing_is_cheaper_than_computing_nothing_twice_whatever_the_rounding():
    generator = Random(1)
    for _ in range(100):
        stages = generator.randint(2, 20)
        chain = mp.Chain(
            forward_cost=[generator.random() for _ in range(stages)],
            backward_cost=[generator.random() for _ in range(stages)],
            input_bytes=1,
            output_bytes=[1] * stages,
            saved_bytes=[2] * stages,
        )
        plan = mp.optimal(chain, 10**6)
        assert (plan.lower_bound, plan.gap) == (plan.cost, 0)


@pytest.mark.parametrize("budget", [0, -1, "0 MiB", "many", 1.5, None, "-3 KiB"])
def test_impossible_budgets_are_refused(budget):
    with pytest.raises((InvalidValueError, InvalidTypeError)) as caught:
        mp.optimal(uniform(3), budget)
    assert repr(budget).strip("'") in str(caught.value)


WRONG = {
    "output_bytes": ([], "at least one stage"),
    "forward_cost": ([1, 1], "forward_cost has 2 entries, but output_bytes has 3"),
    "backward_cost": ([1, float("nan"), 1], r"backward_cost\[1\] must be"),
    "saved_bytes": ([2, 0, 2], "saved_bytes of stage 2 is 0, but it contains"),
    "forward_workspace": ([0, -1, 0], r"forward_workspace\[1\] must be a number of bytes"),
    "backward_workspace": ([0, 1.5, 0], r"backward_workspace\[1\] must be a whole number"),
    "input_bytes": ("one", "input_bytes must be a whole number"),
    "retained_bytes": (7, "retained_bytes must be a list with one entry for each"),
}


@pytest.mark.parametrize("name", WRONG)
def test_impossible_chains_are_refused(name):
    good = {
        "forward_cost": [1] * 3,
        "backward_cost": [0] * 3,
        "input_bytes": 1,
        "output_bytes": [1] * 3,
        "saved_bytes": [2] * 3,
    }
    value, message = WRONG[name]
    with pytest.raises((ValueError, TypeError), match=message):
        mp.Chain(**{**good, name: value})


def test_the_machine_refuses_what_the_model_does_not_allow():
    chain = uniform(2)
    wrong = {
        "input a_1 is not live": [StageAction(FULL, 2)],
        "d_1 or s_1 is not live": [StageAction(FULL, 1), StageAction(BACKWARD, 1)],
        "output is live already": [StageAction(KEEPING, 1), StageAction(FULL, 1)],
        "has the stages 1 to 2": [StageAction(FULL, 3)],
        "input a_0 is not live": [StageAction(FORWARD, 1), StageAction(FULL, 1)],
        "nothing of that stage": [StageAction("drop", 2)],
        "no action 'jump'": [StageAction("jump", 1)],
        "ends with the gradient d_2": [],
    }
    for message, actions in wrong.items():
        with pytest.raises(ScheduleError, match=message):
            replay(chain, actions)


def with_ways(generator, chain, most):
    """``chain`` with up to ``most`` more ways of each stage, sensible and silly ones."""

    def way(place):
        output, saved = chain.output_bytes[place], chain.saved_bytes[place]
        return mp.Way(
            saved_bytes=generator.choice([output, generator.randint(output, 2 * saved - output)]),
            backward_cost=chain.backward_cost[place] + generator.randint(0, 6),
            backward_workspace=generator.choice([0, generator.randint(0, saved)]),
            saving_workspace=generator.choice([0, generator.randint(0, saved)]),
        )

    ways = [[way(s) for _ in range(generator.randint(0, most))] for s in range(len(chain))]
    return replace(chain, ways=ways)


def one_stage(**options):
    """A stage that keeps 50 of 60 bytes, or its 10 alone and computes the others again."""
    cheap = mp.Way(saved_bytes=10, backward_cost=5, backward_workspace=20)
    return mp.Chain(
        forward_cost=[1],
        backward_cost=[2],
        input_bytes=1,
        output_bytes=[10],
        saved_bytes=[50],
        ways=[[cheap]],
        **options,
    )


def forget_plans():
    optimal.frontier_plans.cache_clear()
    optimal._persistent.cache_clear()


@settings(max_examples=300, deadline=None)
@given(stages=st.integers(1, 4), ways=st.integers(0, 2), seed=st.integers(0, 2**32))
def test_with_ways_no_persistent_schedule_is_better_at_any_budget(stages, ways, seed):
    generator = Random(seed)
    chain = with_ways(generator, random_chain(generator, stages), ways)
    best = frontier(chain)
    assert [(plan.peak, plan.cost) for plan in optimal.frontier_plans(chain)] == best
    for peak, cost in best:
        if peak == 0:
            continue  # a budget is at least a byte, and another plan may need just that
        plan = mp.optimal(chain, peak)
        assert (plan.peak, plan.cost) == (peak, cost) == replay(chain, plan.actions)
        assert plan.lower_bound <= cost
        assert plan.optimal_in in (optimal.PERSISTENT, optimal.ALL)
    if best[0][0] > 1:
        with pytest.raises(InfeasibleBudget) as caught:
            mp.optimal(chain, best[0][0] - 1)
        assert caught.value.smallest == best[0][0]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("longest", [12, 0])  # solved exactly, and on the grid
def test_with_ways_the_optimum_is_never_worse_than_without(seed, longest, monkeypatch):
    monkeypatch.setattr(exact, "LONGEST", longest)
    forget_plans()
    generator = Random(seed)
    better = 0
    for _ in range(30):
        chain = random_chain(generator, generator.randint(1, 9), leaving=True)
        if longest == 0 and max(chain.saved_bytes) > 40:
            continue  # sizes that the grid does not round
        several = with_ways(generator, chain, 3)
        before, after = optimal.frontier_plans(chain), optimal.frontier_plans(several)
        for plan in before:
            fitting = [p for p in after if p.peak <= plan.peak]
            assert fitting[-1].cost <= plan.cost
            better += fitting[-1].cost < plan.cost
        assert all(replay(several, p.actions) == (p.peak, p.cost) for p in after)
    assert better > 20
    forget_plans()


@pytest.mark.parametrize("seed", range(4))
def test_the_grid_without_rounding_finds_the_same_with_ways(seed, monkeypatch):
    generator = Random(seed)
    for _ in range(30):
        chain = with_ways(generator, random_chain(generator, generator.randint(1, 7)), 3)
        if max(chain.saved_bytes) > 40:
            continue
        steps = [(p.peak, p.cost) for p in optimal.frontier_plans(chain)]
        with monkeypatch.context() as patched:
            patched.setattr(exact, "LONGEST", 0)
            forget_plans()
            assert [(p.peak, p.cost) for p in optimal.frontier_plans(chain)] == steps
            for peak, cost in steps:
                if peak:
                    assert mp.optimal(chain, peak).cost == cost
        forget_plans()


def test_the_unit_of_the_grid_divides_the_sizes_of_ways_too(monkeypatch):
    odd = mp.Way(saved_bytes=5, backward_cost=1)
    chain = mp.Chain(
        forward_cost=[3] * 6,
        backward_cost=[0] * 6,
        input_bytes=4,
        output_bytes=[4] * 6,
        saved_bytes=[8] * 6,
        ways=[[odd]] * 6,
    )
    monkeypatch.setattr(exact, "LONGEST", 0)
    forget_plans()
    assert [(p.peak, p.cost) for p in optimal.frontier_plans(chain)] == frontier(chain)
    forget_plans()


@pytest.mark.parametrize("seed", range(5))
def test_a_fine_grid_is_close_to_the_exact_solution_with_ways(seed, monkeypatch):
    generator = Random(seed)
    chain = random_chain(generator, 12)
    while max(chain.saved_bytes) < 10**6:  # until the grid has something to round
        chain = random_chain(generator, 12)
    chain = with_ways(generator, chain, 5)
    steps = optimal.frontier_plans(chain)
    monkeypatch.setattr(exact, "LONGEST", 0)
    forget_plans()
    for plan in steps[1:-1]:
        rounded = mp.optimal(chain, plan.peak)
        assert rounded.peak <= plan.peak
        assert plan.cost <= rounded.cost <= 1.1 * plan.cost
    forget_plans()


@pytest.mark.parametrize("stages", [13, 40])
def test_long_chains_with_ways_keep_to_every_budget(stages):
    generator = Random(stages)
    chain = with_ways(generator, random_chain(generator, stages), 5)
    plans = optimal.frontier_plans(chain, 200)
    least, most = plans[0].peak, plans[-1].peak
    assert plans[-1].cost == sum(chain.forward_cost) + sum(chain.backward_cost)
    for tenth in range(11):
        budget = least + (most - least) * tenth // 10
        plan = mp.optimal(chain, budget)
        assert replay(chain, plan.actions) == (plan.peak, plan.cost)
        assert plan.peak <= budget
    with pytest.raises(InfeasibleBudget) as caught:
        mp.optimal(chain, least - 1)
    assert caught.value.smallest == least


def test_the_plan_of_least_memory_takes_the_cheapest_way_that_there_is_room_for():
    # The backward of stage 1 needs 100 bytes in any case; in stage 2 they are enough for way 0.
    chain = mp.Chain(
        forward_cost=[1, 1],
        backward_cost=[1, 1],
        input_bytes=0,
        output_bytes=[1, 1],
        saved_bytes=[1, 5],
        backward_workspace=[98, 0],
        ways=[[], [mp.Way(saved_bytes=1, backward_cost=9)]],
    )
    plan = mp.optimal(chain, 100)
    assert (plan.peak, plan.cost) == (100, 4)
    assert replay(chain, least.actions(chain)) == (100, 4)


def test_a_budget_decides_between_the_ways_of_a_stage():
    # Input 1, d_1 10; saved 50, or saved 10 and 20 more in the backward.
    dear, cheap = mp.optimal(one_stage(), 61), mp.optimal(one_stage(), 60)
    assert (dear.peak, dear.cost) == (61, 3)
    assert (cheap.peak, cheap.cost) == (41, 6)
    assert [str(action) for action in cheap.actions] == [
        "full forward 1, way 1",
        "backward 1, way 1",
    ]
    with pytest.raises(InfeasibleBudget, match="is 41 bytes"):
        mp.optimal(one_stage(), 40)


def test_a_short_chain_of_very_many_ways_is_solved_on_the_grid():
    many = [mp.Way(saved_bytes=1, backward_cost=1 + cost) for cost in range(100)]
    chain = uniform(2, saved=3, ways=[[], many])
    assert "units of" in mp.optimal(chain, 5).method
    assert mp.optimal(replace(chain, ways=[[], many[:9]]), 5).method == "dynamic programming, exact"


def test_what_a_backward_leaves_behind_is_the_same_in_every_way():
    chain = one_stage(retained_bytes=[7])
    assert [plan.peak for plan in optimal.frontier_plans(chain)] == [48, 68]


@thorough
def test_ways_and_bytes_left_behind_together_stay_within_what_any_schedule_can_do():
    generator = Random(2)
    for _ in range(CHAINS_PER_SEED):
        given_chain = random_chain(generator, generator.choice([2, 3, 4]), leaving=True)
        chain = with_ways(generator, given_chain, 2)
        best = frontier(chain)
        for plan in optimal.frontier_plans(chain):
            assert replay(chain, plan.actions) == (plan.peak, plan.cost)
            assert plan.cost >= [cost for peak, cost in best if peak <= plan.peak][-1]
