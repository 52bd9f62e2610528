"""Which buffers are there to communicate with other ranks, and what FSDP2's other buffers are.

What counts as what follows ``torch.distributed._tools.fsdp2_mem_tracker.FSDPMemTracker``: the
output of an all-gather and the input of a reduce-scatter are communication buffers. What FSDP2
copies from and into them is not: unsharded parameters are parameters, unsharded gradients are
gradients, and so is the output of a reduce-scatter, which is where the sharded gradients stay.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import torch

from memprop.torch.record.schema import operands
from memprop.torch.record.storages import Storage, Storages
from memprop.traces.events import TracedVariable
from memprop.traces.recorder import Recorder

_aten: Final = torch.ops.aten
_MAKES_BARE: Final = ("aten::empty", "aten::new_empty")
"""Operators that make a tensor without writing to it."""
_LEARNED_LATER: Final = frozenset({"activation", "activation_gradient", "workspace"})
"""Categories that say when something was made, not what it is."""


class Exchange:
    """What of a step is there to exchange with other ranks.

    A buffer is known by who is given it: a collective, or one of FSDP2's own operators. A value
    that was computed and is then reduced among ranks in place stays a value; one that was only
    allocated, or that nobody made in the step, as DDP's buckets, is a buffer.

    Args:
        recorder: where it is written down.
        storages: the buffers that are alive.
    """

    def __init__(self, recorder: Recorder, storages: Storages) -> None:
        self._recorder = recorder
        self._storages = storages
        self._bare: set[int] = set()
        self._exchanged: set[int] = set()

    def made(self, func: Any, born: Iterable[torch.Tensor]) -> None:
        """An operator made these."""
        if func.name().startswith(_MAKES_BARE):
            found = map(self._storages.get, born)
            self._bare.update(storage.number for storage in found if storage is not None)

    def learn(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        """Learn from an operator what it is given."""
        for role in roles(func, args, kwargs):
            storage = self._storages.get(role.tensor)
            if storage is None:
                continue
            if is_collective(func):
                self._exchanged.add(storage.number)
                if self._is_bare(storage) or _is_in_reducer():
                    self._rename(storage, role.name, role.category)
            elif role.category == "communication" and not self._is_bare(storage):
                # FSDP2 gathers a shard, also one that it made of what it had gathered before.
                self._rename(storage, role.name, "parameter")
            else:
                self._rename(storage, role.name, role.category)

    def learn_parameter(self, storage: Storage) -> None:
        """A parameter is in this storage: FSDP2 makes some in the step, of their shards."""
        if self._recorder.variables[storage.variable].category == "activation":
            self._rename(storage, "unsharded parameter", "parameter")

    def is_inside_gloo(self, func: Any, args: Sequence[Any]) -> bool:
        """Whether gloo copies a result from a part of its scratch, as it does when waited for."""
        if not self._exchanged or not (func.is_view or func is _aten.copy_.default):
            return False
        source = args[1] if func is _aten.copy_.default else args[0]
        return not source.requires_grad and self._storages.get(source) is None

    def _is_bare(self, storage: Storage) -> bool:
        variable = self._recorder.variables[storage.variable]
        return storage.number in self._bare or _is_nobodys(variable)

    def _rename(self, storage: Storage, name: str, category: str) -> None:
        variable = self._recorder.variables[storage.variable]
        if variable.category in _LEARNED_LATER or _is_nobodys(variable):
            path = f"{variable.site}/{name}".strip("/")
            self._recorder.rename(storage.variable, name=path, category=category)


def _is_nobodys(variable: TracedVariable) -> bool:
    """Whether a variable was there before the step, and the program does not hold it."""
    return variable.category == "input" and variable.name.startswith("constant")


def _is_in_reducer() -> bool:
    """Whether DDP's reducer may run: it does so once the gradient of a parameter is there."""
    if torch._C._current_graph_task_id() == -1 or not _has_group():
        return False
    node = torch._C._current_autograd_node()
    return node is not None and node.name().endswith("AccumulateGrad")


def _has_group() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


_NAMESPACES: Final = ("c10d", "fsdp")
_FILLS_BUCKETS: Final = (_aten.mul.out, _aten.copy_.default)
"""Operators by which DDP's reducer puts gradients into its buckets."""


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
    if func.namespace not in _NAMESPACES and func not in _FILLS_BUCKETS:
        return  # as most are
    find = _OF_FSDP.get(func.name())
    if find is not None:
        given = {one.name: value for one, value in zip(func._schema.arguments, args, strict=False)}
        yield from find({**given, **kwargs})
    elif func in _FILLS_BUCKETS and _is_in_reducer():
        yield Role(kwargs.get("out", args[0]), "bucket", "communication")
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
    for tensor in given["all_gather_inputs"]:  # a copy in another type, or the shard itself
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
