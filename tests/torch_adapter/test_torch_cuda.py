"""The ledger on a GPU against CUDA's allocator, as it stands at the end of every operator.

What a kernel allocates and lets go of meanwhile is not in the ledger.
"""

import gc

import asks_for_torch  # noqa: F401
import pytest
import torch
import torch_oracles as oracles
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils._python_dispatch import TorchDispatchMode

import memprop.torch as mpt
from memprop.errors import InvalidValueError

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")


def allocated():
    """Bytes that are allocated on the GPU now, as they were asked for."""
    return torch.cuda.memory_stats()["requested_bytes.all.current"]


class Ends(TorchDispatchMode):
    """What is allocated when operators end.

    Attributes:
        peak: the most bytes.
        dropout_state: bytes of the random numbers that cuDNN keeps for its recurrent layers.
    """

    peak = 0
    dropout_state = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.peak = max(self.peak, allocated())
        if func is torch.ops.aten._cudnn_rnn.default:
            self.dropout_state = args[-1].numel()
        return result


def mlp():
    layers = [layer for _ in range(8) for layer in (nn.Linear(2048, 2048), nn.ReLU())]
    return nn.Sequential(*layers), torch.randn(4096, 2048)


def transformer():
    layers = nn.TransformerEncoderLayer(512, 8, 2048, batch_first=True, dropout=0.1)
    module = nn.TransformerEncoder(layers, 6, enable_nested_tensor=False)
    return module, torch.randn(16, 256, 512)


def convolutions():
    layers = []
    for channels in (3, 64, 64):
        layers += [nn.Conv2d(channels, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64**3, 10)), torch.randn(32, 3, 64, 64)


class Recurrent(nn.Module):
    def __init__(self, kind, *, packed=False):
        super().__init__()
        self.cells = kind(256, 512, 2, dropout=0.2)
        self.packed = packed

    def forward(self, x):
        if self.packed:
            x = pack_padded_sequence(x, [64 - place for place in range(32)])
            return self.cells(x)[0].data
        return self.cells(x)[0]


def recurrent(kind, **options):
    return lambda: (Recurrent(kind, **options), torch.randn(64, 32, 256))


MODELS = {"mlp": mlp, "transformer": transformer, "convolutions": convolutions}
RECURRENT = {
    "LSTM": recurrent(nn.LSTM),
    "GRU": recurrent(nn.GRU),
    "packed": recurrent(nn.LSTM, packed=True),
}
AUTOCAST = pytest.mark.parametrize("autocast", [None, torch.bfloat16], ids=["float32", "bfloat16"])


def warm(build, autocast):
    """A model on the GPU that has made a step, and its optimizer."""
    torch.manual_seed(0)
    module, x = build()
    module, x = module.cuda(), x.cuda()
    optimizer = torch.optim.AdamW(module.parameters())
    oracles.step(module, x, optimizer, autocast)  # makes the workspaces of cuBLAS, too
    optimizer.zero_grad()
    return module, x, optimizer


def peak_at_ends(module, x, optimizer, autocast):
    """The allocator's peak at the ends of operators, over what was there: bytes."""
    state = [part for parts in optimizer.state.values() for part in parts.values()]
    known = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in state if t.is_cuda}
    given = oracles.given_bytes(module, x) + sum(known.values())
    gc.collect()
    before = allocated()
    with Ends() as ends:
        oracles.step(module, x, optimizer, autocast)
    optimizer.zero_grad()
    return ends.peak - before + given + ends.dropout_state


@AUTOCAST
@pytest.mark.parametrize("name", MODELS | RECURRENT)
def test_the_peak_is_that_of_the_allocator_at_the_ends_of_operators(name, autocast):
    module, x, optimizer = warm((MODELS | RECURRENT)[name], autocast)
    expected = peak_at_ends(module, x, optimizer, autocast)
    traced = mpt.trace(module, x, optimizer=optimizer, autocast=autocast)
    optimizer.zero_grad()
    assert traced.peak == pytest.approx(expected, rel=0.005)


@AUTOCAST
@pytest.mark.parametrize("name", MODELS)
def test_simulated_is_traced(name, autocast):
    module, x, optimizer = warm(MODELS[name], autocast)
    simulated = mpt.simulate(module, x, optimizer=optimizer, autocast=autocast)
    traced = mpt.trace(module, x, optimizer=optimizer, autocast=autocast)
    assert simulated.variables == traced.variables
    assert simulated.peak == traced.peak


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_a_recurrent_layer_of_cudnn_is_refused(kind):
    module, x, _ = warm(recurrent(kind), None)
    with pytest.raises(InvalidValueError, match="cudnn"):
        mpt.simulate(module, x)


def test_what_the_program_makes_on_the_gpu_is_known():
    class Counts(nn.Linear):
        def forward(self, x):
            places = torch.arange(len(x), device=x.device)
            return super().forward(x if (places >= 0).all() else x.repeat(2, 1))

    module = Counts(64, 64).cuda()
    x = torch.randn(32, 64, device="cuda")
    assert mpt.simulate(module, x).peak == mpt.trace(module, x).peak


def test_lengths_of_ctc_loss_may_be_on_the_cpu():
    sizes = torch.tensor([9, 8, 7]), torch.tensor([4, 3, 2])

    def loss(output, target):
        return nn.functional.ctc_loss(output.log_softmax(-1), target, *sizes)

    module = nn.Linear(8, 6).cuda()
    x = torch.randn(9, 3, 8, device="cuda")
    target = torch.randint(1, 6, (3, 4), device="cuda")
    traced = mpt.trace(module, x, loss=loss, target=target)
    assert mpt.simulate(module, x, loss=loss, target=target).peak == traced.peak


def test_checkpoints_on_a_gpu_have_the_names_of_their_modules():
    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList(
                nn.Sequential(nn.Linear(64, 64), nn.Unflatten(1, (8, 8)), nn.Flatten(), nn.Tanh())
                for _ in range(3)
            )

        def forward(self, x):
            for block in self.blocks:
                x = torch.utils.checkpoint.checkpoint(block, x, use_reentrant=False)
            return x

    module = Checkpointed()
    x = torch.randn(32, 64)
    there = of_nodes(mpt.trace(module.cuda(), x.cuda()))
    here = of_nodes(mpt.trace(module.cpu(), x))
    assert there == here


def of_nodes(trace):
    """The names of backward nodes in modules; those of leaves are others where sums are."""
    return {one.name for one in trace.operators if one.name.endswith("Backward0")}


def test_the_masks_of_dropout_come_out_as_without_a_simulation():
    module, x, _ = warm(recurrent(nn.LSTM), None)
    outputs = []
    for simulates in (False, True):
        torch.manual_seed(3)
        if simulates:
            with pytest.raises(InvalidValueError):
                mpt.simulate(module, x)
        outputs.append(module(x))
    assert torch.equal(*outputs)


def test_a_real_step_has_the_peaks_that_cuda_counted():
    module, x = mlp()
    module, x = module.cuda(), x.cuda()
    step = mpt.trace(module, x, optimizer=torch.optim.AdamW, warmup=1)
    assert step.allocated_peak == torch.cuda.max_memory_allocated()
    assert step.reserved_peak == torch.cuda.max_memory_reserved()
    assert step.peak <= step.allocated_peak <= step.reserved_peak
