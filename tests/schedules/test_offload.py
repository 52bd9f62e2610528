"""``offload:DIR``: which variables wait on disk, and what the reference machine says of them."""

from dataclasses import replace
from itertools import combinations

import pytest
from cases import ACTIVATIONS, BLOCKS, model

import memprop as mp
from memprop.errors import DeadReadError, LeakError, ScheduleError
from memprop.schedules.actions import Compute, Free, Load, Store
from memprop.schedules.check import check
from memprop.schedules.names import strategy_named
from memprop.schedules.offload import _gaps, _with_transfers


def stored(schedule):
    return [action.variable for action in schedule.actions if isinstance(action, Store)]


def test_what_waits_longest_is_stored_and_the_peak_is_that_of_one_layer():
    """A closed form: n layers of w units, biases, a loss that needs nothing of what lies below."""
    width, layers, batch = 256, 9, 2048
    schedule = mp.schedule(mp.MLP([width] * (layers + 1), loss="mse"), batch, "offload:scratch")
    names = stored(schedule)
    one, each = 4 * batch * width, 4 * (width * width + width)
    assert names == ["x", *(f"h{n}" for n in range(1, len(names)))]
    assert 0 < len(names) < layers
    assert (schedule.disk_peak, schedule.moved_bytes) == (len(names) * one, 2 * len(names) * one)
    # The parameters, the gradients of all layers but the first, dz2, h1 and dh1; L is a scalar.
    assert 0 <= schedule.peak - (layers + layers - 1) * each - 3 * one <= 16
    assert schedule.peak < mp.schedule(mp.MLP([width] * 10, loss="mse"), batch, "sqrt").peak


def test_nothing_is_stored_where_the_peak_is_that_of_gradients():
    """At the end of backward lives little but the gradients of wide layers."""
    lean, ours = (mp.schedule(mp.MLP([256] * 8), 8, name) for name in ("lean", "offload:scratch"))
    assert ours.actions == lean.actions
    assert (ours.disk_peak, ours.moved_bytes) == (0, 0)


def choices(schedule, gaps):
    """The schedules that store any of these variables."""
    for number in range(len(gaps) + 1):
        for chosen in combinations(gaps, number):
            actions = tuple(_with_transfers(schedule.actions, chosen))
            yield replace(schedule, actions=actions, folder="scratch")


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("blocks", ["plain", *BLOCKS])
def test_no_choice_of_variables_has_a_smaller_peak_or_the_same_with_less_moved(activation, blocks):
    """Held against all choices of candidates in a small network."""
    mlp = model(2, 12, activation=activation, **BLOCKS.get(blocks, {}))
    for batch in (4, 64):
        lean, ours = (mp.schedule(mlp, batch, name) for name in ("lean", "offload:scratch"))
        sizes = lean.graph.bytes_at(batch)
        gaps = list(_gaps(lean.graph, lean.actions))
        largest = max(sizes[gap.variable] for gap in gaps)
        gaps = [gap for gap in gaps if 64 * sizes[gap.variable] >= largest]
        gaps = sorted(gaps, key=lambda gap: gap.last - gap.next)[:8]
        found = [(one.peak, one.moved_bytes) for one in choices(lean, gaps)]
        assert (ours.peak, ours.moved_bytes) <= min(found)


def test_small_variables_are_left_where_they_are():
    """Mean and deviation of a norm are a hundredth of what they belong to, and not worth a file."""
    mlp = mp.MLP([128, *[128] * 6, 4], norm="layer")
    schedule = mp.schedule(mlp, 512, "offload:scratch")
    sizes = schedule.graph.bytes_at(512)
    assert min(sizes[name] for name in stored(schedule)) == 4 * 512 * 128


@pytest.mark.parametrize(
    ("name", "folder", "micro_batches"),
    [
        ("offload:scratch", "scratch", 1),
        ("offload: a b/c d ", "a b/c d", 1),
        (r"offload:C:\x y", r"C:\x y", 1),
        ("offload:/data/c++/x", "/data/c++/x", 1),
        ("offload:a+b+microbatch:2", "a+b", 2),
        ("microbatch:2+offload:a+b", "a+b", 2),
        ("offload:lean", "lean", 1),
    ],
)
def test_only_the_first_colon_separates_and_a_path_is_left_as_it_is(name, folder, micro_batches):
    found = strategy_named(name)
    assert (found.argument, found.micro_batches) == (folder, micro_batches)
    assert strategy_named(found.name) == found
    assert found.in_micro_batches(1).name == f"offload:{folder}"
    assert mp.simulate(model(), 8, schedule=name).about["schedule"] == found.name


@pytest.mark.parametrize("name", ["offload", "offload:", "offload: ", "offload:a\0b"])
def test_a_name_without_a_folder_says_what_is_missing(name):
    with pytest.raises(
        mp.MempropError, match="needs a folder to write to, as in 'offload:scratch'"
    ):
        mp.schedule(model(), 8, name)


def test_predicting_writes_nothing(tmp_path):
    folder = tmp_path / "not there"
    mp.simulate(model(), 8, schedule=f"offload:{folder}")
    assert mp.max_batch(model(), "1 MiB", schedule=f"offload:{folder}") > 0
    assert not folder.exists()


def test_capacities_are_those_of_simulated_steps():
    mlp, name = mp.MLP([32, *[64] * 6, 4]), "offload:scratch"
    peaks = mp.peak_bytes(mlp, [1, 10, 100, 1000], schedule=name)
    assert peaks.tolist() == [mp.simulate(mlp, n, schedule=name).peak for n in (1, 10, 100, 1000)]
    largest = mp.max_batch(mlp, "4 MiB", schedule=name)
    assert mp.peak_bytes(mlp, largest, schedule=name) <= 4 << 20
    assert mp.peak_bytes(mlp, largest + 1, schedule=name) > 4 << 20
    assert largest > mp.max_batch(mlp, "4 MiB")


# The reference machine

OFFLOADED = mp.schedule(mp.MLP([32, *[32] * 4, 4]), 256, "offload:scratch")


def without(*places):
    actions = (action for n, action in enumerate(OFFLOADED.actions) if n not in places)
    return replace(OFFLOADED, actions=tuple(actions))


def inserted(action, at):
    actions = (*OFFLOADED.actions[:at], action, *OFFLOADED.actions[at:])
    return replace(OFFLOADED, actions=actions)


def place(action):
    return OFFLOADED.actions.index(action)


def test_every_offloaded_schedule_is_legal():
    check(OFFLOADED)
    assert {type(action) for action in OFFLOADED.actions} == {Compute, Free, Store, Load}


def test_what_is_loaded_must_be_on_disk():
    with pytest.raises(DeadReadError, match=r"^x is loaded, but it is not on disk: store it first"):
        check(without(place(Store("x"))))


def test_what_is_loaded_must_not_be_live():
    freed = place(Free("x"))
    with pytest.raises(ScheduleError, match=r"^x is loaded, but it is still live: free it first"):
        check(without(freed))


def test_what_is_stored_must_be_live():
    late = inserted(Store("h1"), 0)
    with pytest.raises(DeadReadError, match=r"^h1 is stored, but it is not live"):
        check(late)


def test_what_is_on_disk_is_not_stored_again():
    twice = inserted(Store("x"), place(Store("x")))
    with pytest.raises(ScheduleError, match=r"^x is stored, but it is on disk already: load it"):
        check(twice)


def test_what_is_left_on_disk_is_a_leak():
    left = inserted(Store("p"), place(Compute("cross_entropy.do", (("do", "p"),))))
    with pytest.raises(LeakError, match=r"^p is still on disk at the end of the step: load it"):
        check(left)


def test_a_read_of_what_is_only_on_disk_names_operator_and_variable():
    with pytest.raises(DeadReadError, match=r"^linear_1.dW1 reads x, which is not live"):
        check(without(place(Load("x"))))


def test_a_schedule_that_stores_names_a_folder():
    with pytest.raises(ScheduleError, match=r"^x is stored, but the schedule names no folder"):
        check(replace(OFFLOADED, folder=None))
