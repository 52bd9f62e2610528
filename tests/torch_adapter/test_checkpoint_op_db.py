"""PyTorch's own table of operators: what runs again, or was on the host, gives the same gradients.

Of each operator one sample runs, of complex numbers if it takes them: PyTorch puts off conjugates.
With MEMPROP_SAMPLES=all every sample of both types does.
"""

import itertools

import asks_for_torch  # noqa: F401
import checkpoint_choices as choices
import pytest
import torch
from test_op_db import ALL, DIFFERENTIABLE, REFUSED, loss
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map_only

MOST = 100_000 if ALL else 1
TYPES = (torch.complex64, torch.float32)
OTHERWISE = {
    "pinverse": "another result in any dispatch mode, if numbers are complex",
    "linalg.pinv": "another result in any dispatch mode, if numbers are complex",
    "linalg.pinv.singular": "another result in any dispatch mode, if numbers are complex",
    "sgn": "its gradient is a tensor of zeros without memory, which cannot be recorded",
}
"""What PyTorch itself does otherwise in a step that is watched."""


def learns(tensor):
    return tensor.requires_grad and tensor.layout == torch.strided


class Between(nn.Module):
    """An operator whose operands and results belong to the module, and so can be computed again."""

    def __init__(self, operator):
        super().__init__()
        self.operator = operator

    def forward(self, args, kwargs):
        args, kwargs = tree_map_only(
            torch.Tensor, lambda one: one * 1 if learns(one) else one, (args, kwargs)
        )
        made = self.operator(*args, **kwargs)
        return tree_map_only(torch.Tensor, lambda one: one.sin() if learns(one) else one, made)


def gradients(module, inputs):
    """Those of all operands; ``None`` if the sample does not run or does not differentiate."""
    torch.manual_seed(0)
    leaves = [leaf for leaf in tree_leaves(inputs) if isinstance(leaf, torch.Tensor)]
    leaves = [leaf for leaf in leaves if leaf.requires_grad]
    try:
        found = torch.autograd.grad(loss(module(**inputs)), leaves, allow_unused=True)
    except (RuntimeError, ValueError, TypeError, NotImplementedError):
        return None
    return [None if one is None else one.to_dense() for one in found]


def same(found, expected):
    """Bit by bit, and not a number where the other is none."""
    return all(
        (a is None and b is None)
        or (
            torch.equal(torch.nan_to_num(a), torch.nan_to_num(b))
            and torch.equal(a.isnan(), b.isnan())
        )
        for a, b in zip(found, expected, strict=True)
    )


def cases(operator):
    taken = [dtype for dtype in TYPES if dtype in operator.supported_backward_dtypes("cpu")]
    for dtype in taken:
        torch.manual_seed(0)
        samples = operator.sample_inputs("cpu", dtype, requires_grad=True)
        for sample in itertools.islice(samples, MOST):
            inputs = {"args": (sample.input, *sample.args), "kwargs": sample.kwargs}
            yield Between(operator.op), inputs


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "operator",
    [one for one in DIFFERENTIABLE if one.full_name not in REFUSED.keys() | OTHERWISE.keys()],
    ids=lambda operator: operator.full_name,
)
def test_an_operator_that_runs_again_gives_the_same_gradients(operator):
    ran = 0
    for module, inputs in cases(operator):
        if ran and not ALL:
            break
        expected = gradients(module, inputs)
        if expected is None:
            continue

        def both(step):
            again = choices.gone_through(step, step.everything())
            return [again, choices.all_on_the_host(step)]

        for _, twin in choices.chosen_for(module, inputs, both, loss=loss):
            found = gradients(twin, inputs)
            assert found is not None
            assert same(found, expected)
        ran += 1
    if not ran:
        pytest.skip("no sample of it runs and differentiates on the CPU")
