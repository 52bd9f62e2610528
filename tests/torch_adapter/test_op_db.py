"""PyTorch's own tables of operators and modules: simulated = traced, saved = what hooks see.

A few samples of each operator run; with MEMPROP_SAMPLES=all every sample does, and then every
exception below must really be one.
"""

import os
import warnings
import weakref

import asks_for_torch  # noqa: F401
import pytest
import torch
from optional import load_optional
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map_only

import memprop.torch as mpt
from memprop.errors import InvalidValueError

load_optional("expecttest")  # the tables are among PyTorch's tests, which import it
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.testing._internal.common_methods_invocations import op_db
    from torch.testing._internal.common_modules import module_db

ALL = os.environ.get("MEMPROP_SAMPLES") == "all"
MOST = 100_000 if ALL else 3
"""Samples of each operator and module."""

REFUSED = {
    "cov": "checks its weights, which are not known",
    "linalg.lstsq": "the shape of a result depends on the rank of the matrix",
    "linalg.lstsq.grad_oriented": "the same",
    "nn.functional.gaussian_nll_loss": "asks whether a variance is negative",
    "sparse.mm.reduce": "reads a sparse tensor",
    "sparse.sampled_addmm": "reads a sparse tensor",
    "to_sparse": "makes a sparse tensor",
    "GaussianNLLLoss": "asks whether a variance is negative",
}
"""What cannot be simulated: refused with InvalidValueError, for at least one sample."""
KEPT_OTHERWISE = {
    "nn.functional.ctc_loss": "keeps the lengths as tensors while a dispatch mode is active",
    "nn.functional.linear_cross_entropy.chunked": "attributes of its Function, which no hook sees",
    "CTCLoss": "keeps the lengths as tensors while a dispatch mode is active",
    "LinearCrossEntropyLoss": "attributes of its Function, which no hook sees",
}
"""What keeps more than the hooks of autograd see without a witness."""


class Applied(nn.Module):
    """One call of an operator as a module, whose inputs learn."""

    def __init__(self, operator):
        super().__init__()
        self.operator = operator

    def forward(self, args, kwargs):
        return self.operator(*args, **kwargs)


def loss(output):
    """The sum of all that can be differentiated."""
    leaves = [leaf for leaf in _tensors(output) if leaf.requires_grad]
    real = [torch.view_as_real(leaf) if leaf.is_complex() else leaf for leaf in leaves]
    return torch.stack([leaf.float().sum() for leaf in real]).sum()


def _tensors(tree):
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


class Held:
    """What autograd keeps in the place of a saved tensor, as long as it keeps it."""

    def __init__(self, tensor):
        # A result that is kept with its graph would keep itself alive.
        self.tensor = tensor if tensor.grad_fn is None else tensor.detach()


def hooked_bytes(module, inputs):
    """Sizes of the storages, parameters left out, that are saved when backward begins."""
    saved = []

    def pack(tensor):
        held = Held(tensor)
        saved.append(weakref.ref(held))
        return held

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda held: held.tensor):
        end = loss(module(**inputs))
    alive = [held.tensor for reference in saved if (held := reference()) is not None]
    del end
    known = {t.untyped_storage()._cdata for t in (*module.parameters(), *module.buffers())}
    storages = {t.untyped_storage()._cdata: t for t in alive if t.layout == torch.strided}
    return sorted(t.untyped_storage().nbytes() for at, t in storages.items() if at not in known)


def forget_gradients(module, inputs):
    for tensor in (*module.parameters(), *_tensors(inputs)):
        if tensor.is_leaf:
            tensor.grad = None


def runs(module, inputs):
    """Whether the step runs and differentiates, with nobody watching."""
    leaves = (*module.parameters(), *_tensors(inputs))
    if not any(tensor.requires_grad for tensor in leaves):
        return False
    try:
        torch.manual_seed(0)
        loss(module(**inputs)).backward()
    except (RuntimeError, ValueError, TypeError, NotImplementedError):
        return False
    finally:
        forget_gradients(module, inputs)
    return True


def with_bytes(trace):
    """Its variables; those of tensors without elements may differ by an empty copy."""
    return [variable for variable in trace.variables if variable.bytes]


def check(name, module, inputs):
    """Hold one step against its simulation and the hooks.

    Returns:
        The lists of exceptions that it needs.
    """
    needed = set()
    torch.manual_seed(0)
    expected = hooked_bytes(module, inputs)
    torch.manual_seed(0)
    traced = mpt.trace(module, inputs, loss=loss)
    forget_gradients(module, inputs)
    if sorted(kept.bytes for kept in traced.saved) != expected:
        assert name in KEPT_OTHERWISE, f"saved {traced.intermediates()}, hooks see {expected}"
        needed.add("kept")
    try:
        torch.manual_seed(0)
        simulated = mpt.simulate(module, inputs, loss=loss)
    except InvalidValueError:
        assert name in REFUSED
        return needed | {"refused"}
    assert with_bytes(simulated) == with_bytes(traced)
    assert simulated.peak == traced.peak
    assert simulated.saved_bytes == traced.saved_bytes
    return needed


def check_all(name, cases):
    needed = set()
    ran = 0
    for module, inputs in cases:
        if runs(module, inputs):
            needed |= check(name, module, inputs)
            ran += 1
    if ALL:
        assert ("refused" in needed) == (name in REFUSED)
        assert ("kept" in needed) == (name in KEPT_OTHERWISE)
    if not ran:
        pytest.skip("no sample of it runs and differentiates on the CPU")
    return ran


DIFFERENTIABLE = [
    operator
    for operator in op_db
    if operator.supports_autograd and torch.float32 in operator.supported_dtypes("cpu")
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("operator", DIFFERENTIABLE, ids=lambda operator: operator.full_name)
def test_an_operator_is_simulated_as_it_runs_and_saves_what_hooks_see(operator):
    torch.manual_seed(0)
    samples = operator.sample_inputs("cpu", torch.float32, requires_grad=True)
    check_all(
        operator.full_name,
        (
            (Applied(operator.op), {"args": (s.input, *s.args), "kwargs": s.kwargs})
            for s, _ in zip(samples, range(MOST), strict=False)
        ),
    )


def module_cases(info):
    for training in (True, False) if info.train_and_eval_differ else (True,):
        made = info.module_inputs_func(
            info, device="cpu", dtype=torch.float32, requires_grad=True, training=training
        )
        for case in made[:MOST]:
            torch.manual_seed(0)
            args, kwargs = case.constructor_input.args, case.constructor_input.kwargs
            module = info.module_cls(*args, **kwargs).train(training)
            given = {"args": tuple(case.forward_input.args), "kwargs": case.forward_input.kwargs}
            yield Applied(module), tree_map_only(torch.Tensor, as_leaf, given)


def as_leaf(tensor):
    """What a caller hands over: a tensor that no operator made."""
    return tensor if tensor.is_leaf else tensor.detach().requires_grad_()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("info", module_db, ids=lambda info: info.name)
def test_a_module_is_simulated_as_it_runs_and_saves_what_hooks_see(info):
    check_all(info.name.removeprefix("nn."), module_cases(info))
