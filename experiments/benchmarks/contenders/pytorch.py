"""PyTorch, eager or compiled: ``python -m ... pytorch (eager|compile) THREADS``."""

import sys
from itertools import accumulate, pairwise

import torch
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from experiments.benchmarks.contenders import high_water
from experiments.benchmarks.contenders.problem import CLASSES, INPUTS
from experiments.benchmarks.contenders.serve import Step, median_seconds, serve, warmed

MODE = sys.argv[1]


def prepare(depth: int, width: int, batch: int, update: str | None = None) -> Step:
    """A step on fixed samples; the gradients are let go of at its end."""
    torch._dynamo.reset()  # else another shape is compiled for all shapes, and slower
    torch.manual_seed(0)
    net = network([INPUTS] + [width] * depth)
    parameters = list(net.parameters())
    x, y = torch.rand(batch, INPUTS), torch.randint(0, CLASSES, (batch,))

    def loss() -> torch.Tensor:
        return functional.cross_entropy(net(x), y)

    if MODE == "compile":
        loss = torch.compile(loss)
    change = optimizer(update, parameters)

    def step() -> None:
        loss().backward()
        if change is not None:
            change.step()
        for parameter in parameters:
            parameter.grad = None

    return warmed(step)


def network(widths: list[int]) -> torch.nn.Module:
    """Linear layers with relu between them."""
    layers: list[torch.nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers, torch.nn.Linear(widths[-1], CLASSES))


def optimizer(
    name: str | None, parameters: list[torch.nn.Parameter]
) -> torch.optim.Optimizer | None:
    """PyTorch's own, in its fused form, the fastest that it has on a CPU."""
    if name is None:
        return None
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[name]
    return kind(parameters, lr=1e-3, fused=True)


def allocator_bytes(step: Step) -> int:
    """What PyTorch's CPU allocator handed out at its peak in a step, by torch.profiler."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    results = profiler.profiler.kineto_results
    events = [event for event in results.events() if event.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    return max(accumulate(event.nbytes() for event in events), default=0)


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[2]))
    serve(
        prepare,
        seconds=median_seconds,
        growth=high_water.growth_bytes,
        own=allocator_bytes,
    )
