"""What users get wrong, and what they are told."""

import asks_for_torch  # noqa: F401
import pytest
import torch
import torch_zoo as zoo
from torch import nn

import memprop as mp
import memprop.torch as mpt
from memprop.errors import InvalidTypeError, InvalidValueError, UnknownNameError


def linear(device="cpu"):
    return nn.Linear(4, 2, device=device)


X = torch.ones(3, 4)
BOTH = pytest.mark.parametrize("run", [mpt.trace, mpt.simulate], ids=["trace", "simulate"])


@BOTH
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"mode": "trian"}, UnknownNameError, "did you mean 'train'"),
        ({"loss": "mse"}, InvalidTypeError, "loss must be a function"),
        ({"loss": lambda y: y}, InvalidValueError, r"must be a scalar, got the shape \(3, 2\)"),
        ({"loss": lambda y: 3.0}, InvalidTypeError, "must be a tensor, got a float"),
        ({"loss": lambda y: y.detach().sum()}, InvalidValueError, "nothing that is trained"),
        ({"optimizer": "adam"}, InvalidTypeError, "optimizer must be a torch.optim.Optimizer"),
        ({"optimizer": lambda p: 3}, InvalidTypeError, "got 3"),
        ({"autocast": "bf16"}, InvalidTypeError, "torch.bfloat16 or torch.float16"),
        ({"autocast": torch.float64}, InvalidTypeError, "got torch.float64"),
        (
            {"micro_batches": 0},
            InvalidValueError,
            "micro_batches must be a positive .*, got 0",
        ),
        (
            {"micro_batches": 1.5},
            InvalidTypeError,
            "micro_batches must be a positive .*, got 1.5",
        ),
        ({"warmup": -1}, InvalidValueError, "warmup must be an integer of at least 0, got -1"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_a_wrong_option_is_named(run, options, error, message):
    with pytest.raises(error, match=message) as caught:
        run(linear(), X, **options)
    assert isinstance(caught.value, mp.MempropError)


@BOTH
def test_what_is_no_module_is_refused(run):
    with pytest.raises(InvalidTypeError, match=r"must be a torch\.nn\.Module, got 3"):
        run(3, X)


def test_a_function_that_builds_no_module_is_refused():
    with pytest.raises(InvalidTypeError, match=r"must be a torch\.nn\.Module, got 3"):
        mpt.simulate(lambda: 3, X)


@BOTH
def test_a_module_without_trainable_parameters_has_no_training_step(run):
    with pytest.raises(InvalidValueError, match="ReLU has no parameter that requires a gradient"):
        run(nn.ReLU(), X)
    frozen = linear().requires_grad_(False)
    with pytest.raises(InvalidValueError, match="use mode='inference'"):
        run(frozen, X)
    assert run(frozen, X, mode="inference").peak == run(linear(), X, mode="inference").peak


def test_inputs_on_another_device_are_named():
    with pytest.raises(InvalidValueError, match="input is on meta, but the module is on cpu"):
        mpt.trace(linear(), X.to("meta"))
    with pytest.raises(InvalidValueError, match="target is on meta"):
        mpt.trace(linear(), X, loss=nn.MSELoss(), target=torch.ones(3, 2, device="meta"))


def test_a_module_on_meta_cannot_be_traced_but_simulated():
    with pytest.raises(InvalidValueError, match=r"weight is on the meta device.*simulate"):
        mpt.trace(linear("meta"), X)
    assert mpt.simulate(linear("meta"), X) == mpt.simulate(linear(), X)
    assert mpt.simulate(linear, X.to("meta")) == mpt.simulate(linear(), X)


@pytest.mark.parametrize("device", ["abacus", 1.5])
def test_a_device_that_does_not_exist_is_named(device):
    with pytest.raises(InvalidValueError, match=f"unknown device {device!r}"):
        mpt.simulate(linear(), X, device=device)


@pytest.mark.skipif(torch.xpu.is_available(), reason="this machine has an XPU")
def test_a_device_other_than_cuda_cannot_be_simulated_without_it():
    with pytest.raises(InvalidValueError, match="has no 'xpu'"):
        mpt.simulate(linear(), X, device="xpu")


class DependsOnNumbers(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        x = self.linear(x)
        return x if x.sum() > 0 else x * 2


class SelectsByNumbers(DependsOnNumbers):
    def forward(self, x):
        x = self.linear(x)
        return x[x > 0]


@pytest.mark.parametrize("kind", [DependsOnNumbers, SelectsByNumbers])
def test_a_step_that_depends_on_numbers_can_be_traced_but_not_simulated(kind):
    module = kind()
    with pytest.raises(InvalidValueError, match=r"depends on the numbers.*memprop\.torch\.trace"):
        mpt.simulate(module, X)
    assert type(module.linear.weight) is nn.Parameter
    assert mpt.trace(module, X).peak > 0


def test_sparse_gradients_can_be_traced_but_not_simulated():
    module, inputs = zoo.build("sparse")
    with pytest.raises(InvalidValueError, match="embedding has sparse gradients"):
        mpt.simulate(module, inputs)
    trace = mpt.trace(module, inputs)
    assert trace.outputs["gradients"]["embedding.weight"].is_sparse


@pytest.mark.filterwarnings("ignore:TF32 acceleration")  # PyTorch's, on setting a flag of oneDNN
@pytest.mark.parametrize("enabled", [True, False], ids=["oneDNN", "composed"])
def test_an_lstm_is_simulated_on_either_of_its_ways(enabled):
    module, inputs = zoo.build("lstm")
    with torch.backends.mkldnn.flags(enabled=enabled):
        assert mpt.simulate(module, inputs) == mpt.trace(module, inputs)


class Nothing(nn.Module):
    def forward(self):
        return None


class Constant(nn.Module):
    def forward(self):
        return torch.ones(5)


@BOTH
def test_a_module_without_parameters_and_inputs(run):
    with pytest.raises(InvalidValueError, match="Nothing has no parameter"):
        run(Nothing(), ())
    with pytest.raises(InvalidValueError, match="nothing was recorded"):
        run(Nothing(), (), mode="inference")
    assert run(Constant(), (), mode="inference").peak == 5 * 4


@BOTH
def test_wrong_arguments_of_the_module_keep_its_own_error(run):
    with pytest.raises(TypeError, match="positional argument"):
        run(linear(), (X, X))
    with pytest.raises(RuntimeError, match=r"shapes cannot be multiplied|same reduction dim"):
        run(linear(), torch.ones(3, 5))


@pytest.mark.parametrize("how", [mpt.trace, mpt.simulate])
def test_a_lazy_module_must_run_first(how):
    with pytest.raises(InvalidValueError, match=r"0\.weight has no shape before"):
        how(nn.Sequential(nn.LazyLinear(3)), torch.ones(2, 5))
