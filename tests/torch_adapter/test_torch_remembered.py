"""Fake kernels run once for calls that look alike; what is made again is what they would make.

That it is so for all operators, test_op_db.py and test_torch_exact.py see: their simulated steps
follow ones in which each kernel ran.
"""

import pytest


@pytest.fixture
def remembered(torch, monkeypatch):
    from memprop.torch.fake import remembered

    monkeypatch.setattr(remembered, "_known", {})
    return remembered


@pytest.fixture
def fakes(torch):
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode() as mode:
        yield mode


def runs(remembered, func, *args, **kwargs):
    """The result of a call, and whether its kernel ran."""
    ran = []

    def run():
        ran.append(func)
        return func(*args, **kwargs)

    return remembered.remembered(func, args, kwargs, run), bool(ran)


def looks(tensor):
    return (tensor.dtype, tensor.shape, tensor.stride(), tensor.storage_offset(), tensor.device)


def test_a_kernel_runs_once_for_operands_that_look_alike(torch, remembered, fakes):
    x, y, narrow = torch.empty(4, 8), torch.empty(4, 8), torch.empty(4, 4)
    first, ran = runs(remembered, torch.ops.aten.exp.default, x)
    again, ran_again = runs(remembered, torch.ops.aten.exp.default, y)
    other, ran_other = runs(remembered, torch.ops.aten.exp.default, narrow)
    turned, ran_turned = runs(remembered, torch.ops.aten.exp.default, torch.empty(8, 4).t())
    assert (ran, ran_again, ran_other, ran_turned) == (True, False, True, True)
    assert looks(first) == looks(again)
    assert first.untyped_storage()._cdata != again.untyped_storage()._cdata
    assert other.shape == (4, 4)
    assert turned.stride() == (1, 4)


def test_a_view_shares_the_storage_of_its_own_operand(torch, remembered, fakes):
    x, y = torch.empty(4, 8), torch.empty(4, 8)
    runs(remembered, torch.ops.aten.slice.Tensor, x, 1, 2, 6)
    view, ran = runs(remembered, torch.ops.aten.slice.Tensor, y, 1, 2, 6)
    assert not ran
    assert view.untyped_storage()._cdata == y.untyped_storage()._cdata
    assert looks(view) == looks(torch.ops.aten.slice.Tensor(y, 1, 2, 6))


def test_results_in_tuples_and_results_that_are_none_come_back_so(torch, remembered, fakes):
    x, weight = torch.empty(4, 8), torch.empty(8)
    norm = torch.ops.aten.native_layer_norm.default
    first, _ = runs(remembered, norm, x, [8], weight, weight, 1e-5)
    again, ran = runs(remembered, norm, x, [8], weight, weight, 1e-5)
    assert not ran
    assert type(again) is type(first)
    assert [looks(one) for one in again] == [looks(one) for one in first]
    backward = torch.ops.aten.native_layer_norm_backward.default
    given = (x, x, [8], first[1], first[2], weight, weight, [True, False, False])
    runs(remembered, backward, *given)
    gradients, ran = runs(remembered, backward, *given)
    assert not ran
    assert [one is None for one in gradients] == [False, True, True]


def test_numbers_of_another_type_are_another_call(torch, remembered, fakes):
    x = torch.empty(4, dtype=torch.int64)
    add = torch.ops.aten.add.Tensor
    whole, _ = runs(remembered, add, x, 1)
    broken, ran = runs(remembered, add, x, 1.0)
    assert ran
    assert (whole.dtype, broken.dtype) == (torch.int64, torch.float32)


@pytest.mark.parametrize("case", ["in place", "shape from numbers", "no operand", "symbolic"])
def test_what_does_more_than_make_tensors_runs_each_time(torch, remembered, fakes, case):
    aten, x = torch.ops.aten, torch.empty(4)
    func, *args = {
        "in place": (aten.exp_.default, x),
        "shape from numbers": (aten.repeat_interleave.Tensor, torch.empty(4, dtype=torch.int64)),
        "no operand": (aten.zeros.default, [3]),
        "symbolic": (aten.expand.default, x, [torch.nn.Parameter]),
    }[case]
    ran = []
    for _ in range(2):
        remembered.remembered(func, args, {}, lambda: ran.append(func))
    assert len(ran) == 2


def test_all_is_forgotten_when_it_is_too_much(torch, remembered, fakes, monkeypatch):
    monkeypatch.setattr(remembered, "MOST", 3)
    for size in range(1, 9):
        runs(remembered, torch.ops.aten.exp.default, torch.empty(size))
        assert len(remembered._known) <= 3


def test_a_result_belongs_to_the_mode_of_its_operands(torch, remembered):
    from torch._subclasses.fake_tensor import FakeTensorMode

    for _ in range(2):
        with FakeTensorMode() as mode:
            made, _ = runs(remembered, torch.ops.aten.exp.default, torch.empty(4))
            assert made.fake_mode is mode
