"""FLOPs of a step's operators, against PyTorch's own counter and closed formulas."""

import pytest

import memprop as mp

N, D, H, Q = 11, 5, 7, 3


def network(torch):
    return torch.nn.Sequential(torch.nn.Linear(D, H, bias=False), torch.nn.Linear(H, Q, bias=False))


def flops_of(trace, ending):
    return [o.flops for o in trace.operators if o.name.partition("#")[0].endswith(ending)]


@pytest.mark.parametrize("step", ["trace", "simulate"])
def test_products_of_both_passes_count_two_for_each_multiplication(torch, step):
    import memprop.torch as mpt

    trace = getattr(mpt, step)(network(torch), torch.ones(N, D), loss=torch.sum)
    first, second = 2 * N * D * H, 2 * N * H * Q
    assert flops_of(trace, "/mm") == [first, second]
    # The gradients of the second weight and of its input; the input of the first has none.
    assert flops_of(trace, "/MmBackward0") == [2 * second, first]


def test_their_sum_is_that_of_pytorchs_counter(torch):
    from torch.utils.flop_counter import FlopCounterMode

    import memprop.torch as mpt

    module = torch.nn.Sequential(
        torch.nn.Conv2d(2, 4, 3, bias=False),
        torch.nn.Flatten(),
        torch.nn.Linear(144, 5, bias=False),
    )
    x = torch.ones(3, 2, 8, 8)
    with FlopCounterMode(display=False) as counter:
        module(x).sum().backward()
    module.zero_grad()
    trace = mpt.trace(module, x, loss=torch.sum)
    names = ("/mm", "/convolution", "/MmBackward0", "/ConvolutionBackward0")
    assert sum(sum(flops_of(trace, name)) for name in names) == counter.get_total_flops()


def test_what_a_checkpoint_computes_again_is_one_operator_with_the_flops_of_one_run(torch):
    from torch.utils.checkpoint import checkpoint

    import memprop.torch as mpt

    class Checkpointed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inside = network(torch)

        def forward(self, x):
            return checkpoint(self.inside, x, use_reentrant=False)

    trace = mpt.simulate(Checkpointed(), torch.ones(N, D), loss=torch.sum)
    assert flops_of(trace, "/mm") == [2 * N * D * H, 2 * N * H * Q]


def test_what_if_weighs_bytes_against_them(torch):
    import memprop.torch as mpt

    module = torch.nn.Sequential(torch.nn.Linear(D, H), torch.nn.GELU(), torch.nn.Linear(H, Q))
    rows = mp.what_if(mpt.simulate(module, torch.ones(N, D), loss=torch.sum)).set_index("variable")
    assert rows.loc["1/gelu", "operations"] == N * H
    assert rows.loc["0/addmm", "operations"] == 2 * N * D * H
    assert rows["operations"].notna().all()


def test_attention_on_the_cpu_counts_its_products(torch):
    import memprop.torch as mpt

    batch, heads, length, keys, width = 2, 3, 5, 7, 4

    class Attention(torch.nn.Module):
        def forward(self, q, k, v):
            return torch.nn.functional.scaled_dot_product_attention(q, k, v)

    q = torch.rand(batch, heads, length, width, requires_grad=True)
    k, v = torch.rand(2, batch, heads, keys, width).unbind()
    trace = mpt.trace(Attention(), (q, k, v), loss=torch.sum)
    product = 2 * batch * heads * length * keys * width
    name = "scaled_dot_product_flash_attention_for_cpu"
    (forward,) = [o.flops for o in trace.operators if o.name.endswith(name)]
    assert forward == 2 * product  # q k' and scores v
    (backward,) = [o.flops for o in trace.operators if "FlashAttentionForCpuBackward" in o.name]
    assert backward == 5 * product  # the scores again, and two products for each of the two


@pytest.mark.parametrize("device", [None, "cuda"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_an_lstm_counts_the_products_of_its_gates(torch, device, bidirectional):
    import memprop.torch as mpt

    steps, batch, inputs, hidden = 6, 2, 5, 3
    module = torch.nn.LSTM(inputs, hidden, num_layers=2, bidirectional=bidirectional)
    x = torch.rand(steps, batch, inputs)
    trace = mpt.simulate(module, x, loss=lambda y: y[0].sum(), device=device)
    directions = 2 if bidirectional else 1
    gates, cells = 4, steps * batch * directions
    first = 2 * gates * hidden * (inputs + hidden) * cells
    second = 2 * gates * hidden * (directions * hidden + hidden) * cells
    named = [o for o in trace.operators if "rnn" in o.name.lower()]
    forward = sum(o.flops for o in named if "Backward" not in o.name)
    backward = sum(o.flops for o in named if "Backward" in o.name)
    assert forward == first + second
    assert backward >= 2 * (first + second)  # a node's other operators count as well
    assert backward < 2 * (first + second) + 2000


def test_a_gru_as_cudnn_runs_it_has_three_gates(torch):
    import memprop.torch as mpt

    steps, batch, inputs, hidden = 6, 2, 5, 3
    module = torch.nn.GRU(inputs, hidden, batch_first=True)
    x = torch.rand(batch, steps, inputs)
    trace = mpt.simulate(module, x, loss=lambda y: y[0].sum(), device="cuda")
    (forward,) = [o.flops for o in trace.operators if o.name.endswith("_cudnn_rnn")]
    assert forward == 2 * 3 * hidden * (inputs + hidden) * steps * batch
