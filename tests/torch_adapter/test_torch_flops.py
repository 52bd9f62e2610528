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
