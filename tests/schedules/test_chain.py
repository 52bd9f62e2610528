"""Chain and the machine that replays plans: figures added up by hand."""

import numpy as np
import pytest

import memprop as mp
from memprop.errors import InvalidTypeError, InvalidValueError, ScheduleError
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


CHEAP = mp.Way(saved_bytes=200, backward_cost=13, backward_workspace=50_000, saving_workspace=7)
OTHER = [(FULL, 1), (FULL, 2, 1), (BACKWARD, 2, 1), (BACKWARD, 1)]


def test_a_way_keeps_needs_and_costs_what_it_says():
    chain = two_stages(ways=[[], [CHEAP]])
    # a_0, d_2, s_1 and what way 1 of stage 2 keeps, and its backward's workspace.
    assert replayed(chain, OTHER) == (1 + 100 + 1_010 + 200 + 50_000, 3 + 5 + 7 + 13)
    assert replayed(chain, SAVED) == replayed(two_stages(), SAVED)
    only_saving = mp.Way(saved_bytes=200, backward_cost=13, saving_workspace=70_000)
    assert replayed(two_stages(ways=[[], [only_saving]]), OTHER).peak == 1 + 100 + 1_010 + 70_200


def test_way_0_is_what_the_sequences_of_the_chain_say():
    chain = two_stages(ways=[(), iter([CHEAP])], backward_workspace=[1, 2], saving_workspace=[3, 4])
    own = mp.Way(saved_bytes=10_100, backward_cost=11, backward_workspace=2, saving_workspace=4)
    assert chain.ways_of(2) == (own, CHEAP)
    assert len(chain.ways_of(1)) == 1
    assert two_stages(ways=[[], []]) == two_stages()
    assert hash(two_stages(ways=[[], []])) == hash(two_stages())


def test_arrays_may_give_the_figures_of_a_way():
    figures = np.array([200, 50_000, 7])
    way = mp.Way(
        saved_bytes=figures[0],
        backward_cost=np.float32(13),
        backward_workspace=figures[1],
        saving_workspace=figures[2],
    )
    assert two_stages(ways=[[], [way]]) == two_stages(ways=[[], [CHEAP]])


def test_the_way_of_an_action_is_told_if_it_is_not_the_first():
    assert str(StageAction(FULL, 3, 2)) == "full forward 3, way 2"
    assert str(StageAction(FULL, 3)) == "full forward 3"


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([(FULL, 1), (FULL, 2, 1), (BACKWARD, 2)], "backward 2: s_2 was saved in way 1"),
        ([(FULL, 1), (FULL, 2), (BACKWARD, 2, 1)], "backward 2, way 1: s_2 was saved in way 0"),
        ([(FULL, 1), (FULL, 2, 2)], "full forward 2, way 2: the stage has the ways 0 to 1"),
        ([(FULL, 1), (FULL, 2, -1)], "the stage has the ways 0 to 1"),
        ([(KEEPING, 1, 1)], "only full forwards and backwards have ways"),
    ],
)
def test_the_machine_refuses_ways_that_do_not_fit_together(steps, message):
    with pytest.raises(ScheduleError, match=message):
        replayed(two_stages(ways=[[], [CHEAP]]), steps)


def way(**changed):
    return mp.Way(**{"saved_bytes": 200, "backward_cost": 13, **changed})


@pytest.mark.parametrize(
    ("ways", "error", "message"),
    [
        ([[]], InvalidValueError, "ways has 1 entries, but output_bytes has 2"),
        (7, InvalidTypeError, "ways must be a list with one entry for each stage"),
        ([[], 7], InvalidTypeError, r"ways\[1\] must be a list of mp.Way, got 7"),
        ([[], CHEAP], InvalidTypeError, r"ways\[1\] must be a list of mp.Way"),
        ([[], [CHEAP, (1, 2)]], InvalidTypeError, r"ways\[1\]\[1\] must be an mp.Way"),
        ([[], [way(saved_bytes=99)]], InvalidValueError, r"ways\[1\]\[0\].saved_bytes is 99"),
        ([[], [way(saved_bytes=1.5)]], InvalidTypeError, r"ways\[1\]\[0\].saved_bytes must be"),
        (
            [[way(backward_workspace=-1)], []],
            InvalidValueError,
            r"ways\[0\]\[0\].backward_workspace must be a number of bytes",
        ),
        (
            [[way(saving_workspace=True)], []],
            InvalidTypeError,
            r"ways\[0\]\[0\].saving_workspace must be a whole number",
        ),
        (
            [[], [way(backward_cost=10)]],
            InvalidValueError,
            r"ways\[1\]\[0\].backward_cost is 10, less than the 11 of backward_cost\[1\]",
        ),
        (
            [[], [way(backward_cost=float("nan"))]],
            InvalidValueError,
            r"ways\[1\]\[0\].backward_cost must be finite",
        ),
        ([[], [way(saved_bytes=2**62)]], InvalidValueError, "add up to less than 2\\^62"),
        ([[], [way(backward_cost=1e308)]], InvalidValueError, "costs of a chain must add up"),
    ],
)
def test_impossible_ways_are_refused(ways, error, message):
    with pytest.raises(error, match=message):
        two_stages(ways=ways)
