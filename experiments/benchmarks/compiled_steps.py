"""What torch.compile makes of a module, without a compiler: its graphs, run operator by operator.

The graphs are those of AOTAutograd, divided into forward and backward by one of PyTorch's
partitioners, as torch.compile(backend="aot_eager") runs them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch._functorch.config as functorch_config
from torch import fx, nn
from torch._dynamo.backends.common import aot_autograd
from torch._functorch.partitioners import default_partition, min_cut_rematerialization_partition
from torch.fx.node import map_arg

from memprop.torch.record.flops import flops_of


@dataclass(frozen=True)
class CompiledStep:
    """A compiled forward and backward pass.

    Attributes:
        saved_bytes: what the forward graph hands to the backward graph, of what it made.
        flops: of both.
        run: runs them once.
    """

    saved_bytes: int
    flops: int
    run: Callable[[], None]


def compiled(module: nn.Module, x: torch.Tensor, knob: float | None) -> CompiledStep:
    """A step as PyTorch compiles it, whose loss is the sum of the output.

    Args:
        module: the module.
        x: its input.
        knob: activation_memory_budget; ``None`` divides the graphs so that nothing runs again.
    """
    divide = default_partition if knob is None else min_cut_rematerialization_partition
    graphs: list[tuple[fx.GraphModule, fx.GraphModule]] = []
    calls: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []

    def partition(joint: fx.GraphModule, inputs: Any, **options: Any) -> Any:
        graphs.append(divide(joint, inputs, **options))
        return graphs[-1]

    def boxed(graph: fx.GraphModule, _: Any) -> Any:
        def run(args: list[Any]) -> Any:
            return fx.Interpreter(graph).boxed_run(args)

        vars(run)["_boxed_call"] = True
        return run

    backend = aot_autograd(fw_compiler=boxed, bw_compiler=boxed, partition_fn=partition)

    def capturing(graph: fx.GraphModule, inputs: Any) -> Any:
        made = backend(graph, inputs)

        def call(*args: Any) -> Any:
            calls.append((made, args))
            return made(*args)

        return call

    torch._dynamo.reset()
    with functorch_config.patch(activation_memory_budget=1.0 if knob is None else knob):
        torch.compile(module, backend=capturing)(x).sum().backward()
    ((forward, backward),) = graphs
    ((function, args),) = calls
    module.zero_grad()

    def run() -> None:
        module.zero_grad()
        (output,) = function(*args)
        output.sum().backward()

    return CompiledStep(_saved_bytes(forward), _flops_in(forward) + _flops_in(backward), run)


def _saved_bytes(forward: fx.GraphModule) -> int:
    (output,) = (node for node in forward.graph.nodes if node.op == "output")
    kept = {node for node in output.args[0][1:] if node.op == "call_function"}
    values = (node.meta["val"] for node in kept)
    return sum(value.nbytes for value in values if isinstance(value, torch.Tensor))


def _flops_in(graph: fx.GraphModule) -> int:
    """The FLOPs of the operators in a graph, by memprop's own formulas."""
    found = 0
    for node in graph.graph.nodes:
        if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
            continue
        if node.target.is_view:
            continue
        args, kwargs = map_arg((node.args, node.kwargs), lambda one: one.meta["val"])
        found += flops_of(node.target, args, kwargs, node.meta["val"])
    return found
