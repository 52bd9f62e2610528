"""Which buffers are there to communicate with other ranks, and what FSDP2's other buffers are.

What counts as what follows ``torch.distributed._tools.fsdp2_mem_tracker.FSDPMemTracker``: the
output of an all-gather and the input of a reduce-scatter are communication buffers. What FSDP2
copies from and into them is not: unsharded parameters are parameters, unsharded gradients are
gradients, and so is the output of a reduce-scatter, which is where the sharded gradients stay.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import torch

from memprop.torch.record.schema import operands


class Role(NamedTuple):
    """What an operator shows a buffer to be.

    Attributes:
        tensor: one that lives in it.
        name: what to call it.
        category: what it is for.
    """

    tensor: torch.Tensor
    name: str
    category: str


def is_collective(func: Any) -> bool:
    """Whether an operator is one of a process group's, on tensors that it is given."""
    return func.namespace == "c10d"


def roles(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Iterator[Role]:
    """What an operator shows the buffers to be that it is given."""
    find = _OF_FSDP.get(func.name())
    if find is not None:
        given = {one.name: value for one, value in zip(func._schema.arguments, args, strict=False)}
        yield from find({**given, **kwargs})
    elif is_collective(func):
        name = func.name().removeprefix("c10d::").strip("_")
        for tensor in _tensors_in((*args, *kwargs.values())):
            yield Role(tensor, f"{name} buffer", "communication")


def _tensors_in(values: Sequence[Any]) -> Iterator[torch.Tensor]:
    """The tensors among arguments; an all-gather of many is given lists of lists."""
    yield from operands(values, {})
    for value in values:
        if isinstance(value, list | tuple):
            yield from operands([one for one in value if isinstance(one, list | tuple)], {})


def _all_gather(given: dict[str, Any]) -> Iterator[Role]:
    yield Role(given["all_gather_output"], "all-gather output", "communication")
    for tensor in given["all_gather_inputs"]:  # a copy in another type, or the parameter itself
        yield Role(tensor, "all-gather input", "communication")


def _unsharded(given: dict[str, Any]) -> Iterator[Role]:
    for tensor in given["out"]:
        yield Role(tensor, "unsharded parameter", "parameter")


def _reduce_scatter(given: dict[str, Any]) -> Iterator[Role]:
    yield Role(given["out"], "reduce-scatter input", "communication")
    for tensor in given["tensors"]:
        yield Role(tensor, "unsharded gradient", "parameter_gradient")


_OF_FSDP: Final[dict[str, Callable[[dict[str, Any]], Iterator[Role]]]] = {
    "fsdp::all_gather_copy_in": _all_gather,
    "fsdp::split_with_sizes_copy": _unsharded,
    "fsdp::chunk_cat": _reduce_scatter,
}
