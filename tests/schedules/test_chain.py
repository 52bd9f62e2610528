"""Chain and the machine that replays plans: figures added up by hand."""

import numpy as np
import pytest

import memprop as mp
from memprop.errors import InvalidValueError
from memprop.schedules.plan import BACKWARD, DROP, FORWARD, FULL, KEEPING, StageAction, replay


def two_stages(**options):
    """Sizes that add up differently whatever is counted or forgotten."""
    sizes = {"input_bytes": 1, "output_bytes": [10, 100], "saved_bytes": [1_010, 10_100]}
    return mp.Chain(forward_cost=[3, 5], backward_cost=[7, 11], **{**sizes, **options})


SAVED = [(FULL, 1), (FULL, 2), (BACKWARD, 2), (BACKWARD, 1)]
REPEATED = [(KEEPING, 1), (FULL, 2), (BACKWARD, 2), (FULL, 1), (BACKWARD, 1)]


def replayed(chain, steps):
    return replay(chain, [StageAction(*step) for step in steps])


def test_what_is_not_given_is_zero_and_full_forwards_need_what_forwards_need():
    chain = two_stages(forward_workspace=[4, 5])
    assert len(chain) == 2
    assert chain.saving_workspace == (4, 5)
    assert chain.backward_workspace == chain.retained_bytes == (0, 0)


def test_arrays_make_the_same_chain_as_lists_in_integers_of_any_size():
    chain = two_stages(input_bytes=np.int32(1), output_bytes=np.array([10, 100], dtype=np.int32))
    assert chain == two_stages()
    assert hash(chain) == hash(two_stages())
    assert {type(size) for size in chain.sizes} == {int}


# a_0, d_2 and both s: 1 + 100 + 1010 + 10100.
@pytest.mark.parametrize(
    ("options", "peak"),
    [
        ({}, 11_211),
        ({"saving_workspace": [20_000, 0]}, 1 + 100 + 1_010 + 20_000),
        ({"saving_workspace": [0, 20_000]}, 11_211 + 20_000),
        ({"forward_workspace": [0, 20_000], "saving_workspace": [0, 0]}, 11_211),
        ({"backward_workspace": [0, 3]}, 11_211 + 3),
        # d_1 has taken the place of s_2 and d_2.
        ({"backward_workspace": [20_000, 0]}, 1 + 1_010 + 10 + 20_000),
        ({"retained_bytes": [0, 3]}, 11_211 + 3),
        # What backward 2 lets go of is there until it runs.
        ({"retained_bytes": [0, -3]}, 11_211),
        ({"retained_bytes": [0, 20_000], "backward_workspace": [5, 0]}, 11_211 + 20_000),
    ],
)
def test_the_peak_of_saving_everything(options, peak):
    assert replayed(two_stages(**options), SAVED) == (peak, 3 + 5 + 7 + 11)


def test_what_is_run_twice_costs_twice_and_needs_less():
    # a_0, a_1, d_2 and s_2: stage 1 saves nothing yet.
    assert replayed(two_stages(), REPEATED) == (1 + 10 + 100 + 10_100, 2 * 3 + 5 + 7 + 11)


def test_the_gradient_does_not_take_the_place_of_what_is_saved():
    # d_1 comes beside s_1, which contains a_1: more is live after backward 2 than while it runs.
    chain = two_stages(output_bytes=[500, 0], saved_bytes=[1_000, 0])
    assert replayed(chain, SAVED).peak == 1 + 1_000 + 500


def test_an_input_that_was_dropped_is_gone_and_one_that_is_saved_is_not():
    forward = [(FULL, 1), (FORWARD, 2), (DROP, 2), (FULL, 2), (BACKWARD, 2), (BACKWARD, 1)]
    assert replayed(two_stages(), forward).cost == 3 + 5 + 5 + 7 + 11


def test_iterators_are_as_good_as_lists():
    made = mp.Chain(
        forward_cost=iter([1, 2]),
        backward_cost=iter([1, 2]),
        input_bytes=3,
        output_bytes=iter([4, 5]),
        saved_bytes=iter([6, 7]),
    )
    assert (made.output_bytes, made.saved_bytes, len(made)) == ((4, 5), (6, 7), 2)


@pytest.mark.parametrize("cost", [-1, float("inf"), float("nan"), 1e308])
def test_a_cost_that_no_sum_can_hold_is_an_impossible_value(cost):
    with pytest.raises(InvalidValueError, match=r"finite and not negative|add up to less"):
        mp.Chain(
            forward_cost=[cost, 1e308],
            backward_cost=[1, 1],
            input_bytes=1,
            output_bytes=[1, 1],
            saved_bytes=[1, 1],
        )


def test_the_old_name_of_what_a_backward_retains_still_works():
    sizes = {"input_bytes": 1, "output_bytes": [1, 1], "saved_bytes": [1, 1]}
    costs = {"forward_cost": [1, 1], "backward_cost": [1, 1]}
    chain = mp.Chain(**costs, **sizes, retained_bytes=[2, 3])
    with pytest.warns(DeprecationWarning, match="called retained_bytes"):
        old = mp.Chain(**costs, **sizes, left_bytes=[2, 3])
    assert old == chain
    with pytest.warns(DeprecationWarning, match="called retained_bytes"):
        assert chain.left_bytes == (2, 3)
    with pytest.raises(mp.MempropError, match="old name"):
        mp.Chain(**costs, **sizes, left_bytes=[2, 3], retained_bytes=[2, 3])
