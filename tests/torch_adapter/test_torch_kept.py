"""What is saved for backward: the storages that the graph, a checkpoint or a Function holds."""

import asks_for_torch  # noqa: F401
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

import memprop.torch as mpt

BOTH = pytest.mark.parametrize("run", [mpt.trace, mpt.simulate], ids=["trace", "simulate"])
NUMBER = 4
"""Bytes of a float32."""


class Blocks(nn.Module):
    """Blocks that end in an operator that saves its result, each in a checkpoint."""

    def __init__(self, count, last, *, reentrant, width=1):
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), last()) for _ in range(count)
        )
        self.reentrant = reentrant

    def forward(self, x):
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=self.reentrant)
        return x


def squares(output):
    return output.pow(2).sum()


@BOTH
@pytest.mark.parametrize("reentrant", [False, True], ids=["plain", "reentrant"])
@pytest.mark.parametrize("last", [nn.ReLU, nn.Tanh, nn.Sigmoid, nn.Softplus])
@pytest.mark.parametrize("count", [1, 3, 8])
def test_checkpoints_keep_the_input_of_each_block_and_the_loss_the_last_output(
    run, reentrant, last, count
):
    x = torch.ones(1, 1, requires_grad=True)
    trace = run(Blocks(count, last, reentrant=reentrant), x, loss=squares)
    assert trace.saved_bytes == NUMBER * (count + 1)


@BOTH
def test_a_sequence_of_checkpoints_keeps_the_input_of_each_part(run):
    class Parts(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(
                *(layer for _ in range(8) for layer in (nn.Linear(16, 16), nn.ReLU()))
            )

        def forward(self, x):
            return checkpoint_sequential(self.layers, 4, x, use_reentrant=False)

    trace = run(Parts(), torch.ones(5, 16), loss=squares)
    parts = 3  # the last part is not recomputed: two linear layers keep their inputs, relu its own
    last = 2 + 1 + 1
    assert trace.saved_bytes == NUMBER * 5 * 16 * (parts + last) - NUMBER * 5 * 16


class Greedy(torch.autograd.Function):
    """Keeps what it never reads, in two ways."""

    @staticmethod
    def forward(ctx, x):
        ctx.scratch = torch.zeros(100)
        ctx.save_for_backward(x, x.exp())
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 2


class Wasteful(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, x):
        return Greedy.apply(self.linear(x))


@BOTH
def test_what_is_kept_for_nothing_has_its_row(run):
    trace = run(Wasteful(), torch.ones(2, 3))
    table = trace.intermediates()
    waste = table[table["use"] == "never read"]
    assert sorted(waste["bytes"]) == [NUMBER * 6, NUMBER * 6, NUMBER * 100]
    assert (waste["reuses"] == 0).all()
    assert waste["kept"].all()
    assert trace.saved_bytes == NUMBER * (6 + 6 + 6 + 100)  # the linear layer reads its input
    cached = trace.cached()
    assert list(cached.columns) == ["site", "use", "bytes", "count"]
    assert cached["bytes"].sum() == trace.saved_bytes
    assert cached["bytes"].is_monotonic_decreasing
    assert cached.set_index("use")["bytes"]["reused"] == NUMBER * 6


@BOTH
def test_labels_that_the_loss_keeps_are_saved(run):
    labels = torch.tensor([0, 1, 2, 0, 1])
    trace = run(nn.Linear(4, 3), torch.ones(5, 4), loss=nn.CrossEntropyLoss(), target=labels)
    table = trace.intermediates().set_index("variable")
    assert table.loc["target", "bytes"] == 5 * 8
    assert table.loc["target", "category"] == "input"


@BOTH
def test_a_network_in_the_closure_of_the_loss_is_parameters(run):
    perceptual = nn.Linear(64, 64).requires_grad_(False)
    x = torch.ones(2, 64)
    trace = run(nn.Linear(64, 64), x, loss=lambda output: perceptual(output).sum())
    assert trace.saved_bytes == NUMBER * 2 * 64  # x
    setup = trace.timeline()
    setup = setup[setup["phase"] == "setup"].iloc[-1]
    assert setup["parameter"] == NUMBER * 2 * (64 * 64 + 64)
    assert setup["activation"] == 0


@BOTH
def test_layers_in_a_plain_list_are_parameters_with_gradients(run):
    class Listed(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = [nn.Linear(4, 4), nn.Linear(4, 4)]
            self.head = nn.Linear(4, 4)

        def forward(self, x):
            for layer in self.layers:
                x = layer(x).tanh()
            return self.head(x)

    trace = run(Listed(), torch.ones(2, 4))
    sizes = {
        category: sum(v.bytes for v in trace.variables if v.category == category)
        for category in ("parameter", "parameter_gradient", "input")
    }
    assert sizes["parameter"] == sizes["parameter_gradient"] == NUMBER * 3 * 20
    assert sizes["input"] == NUMBER * 8
    names = {variable.name for variable in trace.variables}
    assert {"Linear.weight", "Linear#2.weight", "Linear.weight.grad"} <= names


@BOTH
def test_plain_tensors_that_were_there_are_parameters_if_they_learn_else_inputs(run):
    scale, shift = torch.ones(4, requires_grad=True), torch.ones(4)
    trace = run(nn.Linear(4, 4), torch.ones(2, 4), loss=lambda y: (y * scale + shift).sum())
    categories = {v.category for v in trace.variables if v.shape == (4,) and "." not in v.name}
    parameters = [v.bytes for v in trace.variables if v.category == "parameter"]
    assert sorted(parameters) == [16, 16, 64]
    assert "input" in categories
    assert sum(v.bytes for v in trace.variables if v.category == "input") == NUMBER * (8 + 4)


@BOTH
def test_what_hooks_made_of_saved_tensors_is_what_is_held(run):
    class Packed(nn.Module):
        """Saves everything in 16 bits."""

        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x):
            def pack(tensor):
                return tensor.to(torch.bfloat16)

            def unpack(packed):
                return packed.to(torch.float32)

            with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
                return functional.silu(self.second(self.first(x)))

    trace = run(Packed(), torch.ones(4, 8))
    # The inputs of three operators, and the weight that the gradient goes back through.
    assert trace.saved_bytes == 2 * (3 * 4 * 8 + 8 * 8)


@BOTH
def test_what_the_output_holds_beside_the_loss_counts(run):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            return self.left(x).sin(), self.right(x).cos()

    x = torch.ones(2, 4)
    one = run(Two(), x, loss=lambda output: output[0].sum())
    # Both branches are alive, though backward goes through the first alone.
    assert one.saved_bytes == NUMBER * 3 * 8
    table = one.intermediates()
    assert (table["use"] == "never read").sum() == 1
