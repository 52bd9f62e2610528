"""Plans that are asked for wrongly, or read from damaged files: a clear error, before any work."""

import dataclasses
import json

import asks_for_torch  # noqa: F401
import pytest
import torch
from torch import nn

import memprop as mp
import memprop.torch as mpt
from memprop.errors import InvalidTypeError, InvalidValueError, UnknownNameError


def network():
    return nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 8)), torch.randn(4, 8)


class DifferentiatesWithin(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x):
        hidden = self.layer(x).tanh()
        return hidden + torch.func.grad(lambda one: one.sin().sum())(hidden)


@pytest.fixture(scope="module")
def plan():
    module, x = network()
    return mpt.auto_checkpoint(module, x, "1 MiB").plan


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"budget": True}, InvalidTypeError, "a size in bytes must be an integer .* got True"),
        ({"compiled": "no"}, InvalidTypeError, "compiled must be True or False, got 'no'"),
        ({"blocks": "nope"}, UnknownNameError, "unknown blocks 'nope'.*the module itself"),
        ({"optimizer": torch.optim.LBFGS}, InvalidValueError, "LBFGS.step needs a closure.*step"),
        ({"loss": lambda one: (one * 1j).sum()}, InvalidValueError, "must be a real number"),
        ({"loss": nn.MSELoss}, InvalidTypeError, "as torch.nn.MSELoss"),
        ({"target": torch.zeros(4, 8)}, InvalidValueError, "target is handed to loss"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, error, says):
    module, x = network()
    with pytest.raises(error, match=says):
        mpt.auto_checkpoint(module, x, **{"budget": "1 MiB", **options})


@pytest.mark.parametrize("points", [0, -1, 1.5, None, "3", True, float("nan")])
def test_points_of_a_curve_are_a_positive_integer(points):
    with pytest.raises(mp.MempropError, match="points must be a positive integer"):
        mpt.frontier(*network(), points=points)


def test_inputs_by_name_have_texts_as_names():
    module, x = network()
    with pytest.raises(InvalidTypeError, match="names of forward's parameters, got 1"):
        mpt.auto_checkpoint(module, {1: x}, "1 MiB")


def test_a_module_that_differentiates_within_forward_is_refused_in_words():
    module = DifferentiatesWithin()
    with pytest.raises(InvalidValueError, match=r"torch\.func within its forward pass"):
        mpt.auto_checkpoint(module, torch.randn(4, 8), "1 MiB")
    assert mpt.simulate(module, torch.randn(4, 8)).peak > 0


def test_many_micro_batches_take_no_longer_than_a_few():
    module, x = network()
    many = mpt.auto_checkpoint(module, x, "1 MiB", micro_batches=10**9).plan
    assert many.peak == mpt.simulate(module, x, micro_batches=5).peak


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (None, InvalidTypeError),
        (nn.Linear, InvalidTypeError),
        (nn.LazyLinear, InvalidTypeError),
        (nn.Linear(8, 9), InvalidValueError),
    ],
)
def test_a_plan_is_carried_out_on_its_own_kind_of_module_alone(plan, given, error):
    with pytest.raises(error):
        plan.apply(given)


def test_a_plan_is_not_carried_out_on_a_module_without_shapes(plan):
    with pytest.raises(InvalidValueError, match="has no shape before the module has run"):
        plan.apply(nn.LazyLinear(4))


def test_what_torch_jit_made_is_refused(plan):
    with pytest.warns(DeprecationWarning, match="jit"):
        scripted = torch.jit.script(network()[0])
    with pytest.raises(InvalidValueError, match=r"compiled by torch\.jit"):
        plan.apply(scripted)


WRONG = (
    *({"counts": {name: 1}} for name in ("aten.mm.overloads", "aten.name.lower", "aten.mm")),
    *({"counts": {name: 1}} for name in ("aten.__class__.__mro__", "os.system.default", "")),
    {"offloaded": {"aten.mm.nothing": (0,)}},
    {"again": {"aten.mm.default": {-1: ()}}},
    {"again": {"aten.mm.default": {0: (-1,)}}},
    *({name: -1} for name in ("peak", "budget", "slowdown", "saved_bytes", "offloaded_bytes")),
    {"cost": "bananas"},
)


@pytest.mark.parametrize("changes", WRONG, ids=str)
def test_a_file_that_no_plan_can_have_written_is_refused(plan, tmp_path, changes):
    dataclasses.replace(plan, **changes).save(tmp_path / "plan.json")
    with pytest.raises(InvalidValueError, match=r"plan\.json"):
        mpt.CheckpointPlan.load(tmp_path / "plan.json")


def test_an_entry_that_is_not_known_is_no_part_of_a_plan(plan, tmp_path):
    plan.save(tmp_path / "plan.json")
    told = json.loads((tmp_path / "plan.json").read_text())
    (tmp_path / "plan.json").write_text(json.dumps({**told, "beak": 1}))
    with pytest.raises(InvalidValueError, match="beak"):
        mpt.CheckpointPlan.load(tmp_path / "plan.json")


@pytest.mark.parametrize("name", ["missing.json", ".", "null\0byte"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, name):
    with pytest.raises(InvalidValueError, match="cannot read a plan from"):
        mpt.CheckpointPlan.load(f"{tmp_path}/{name}")
