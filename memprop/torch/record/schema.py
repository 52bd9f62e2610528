"""What an operator is given: its operands, and which of them it writes to."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils._pytree import tree_leaves


def tensors(tree: Any) -> list[torch.Tensor]:
    """The tensors in a tree of dicts, lists, tuples and other containers that PyTorch knows."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def operands(args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[torch.Tensor]:
    """The tensors that an operator is given: arguments, or in lists that are arguments.

    Of these few thousand calls a step has, each is made several times: a walk of any tree would
    take longer than the rest of the ledger.
    """
    found: list[torch.Tensor] = []
    for value in (*args, *kwargs.values()):
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found.extend(one for one in value if isinstance(one, torch.Tensor))
    return found


def named_arguments(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments of an operator by name, those that were left out included."""
    given = {one.name: one.default_value for one in func._schema.arguments}
    return given | dict(zip(given, args, strict=False)) | dict(kwargs)


def with_operands(
    change: Callable[[torch.Tensor], torch.Tensor], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of an operator with each of its operands changed."""

    def changed(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return change(value)
        if isinstance(value, list | tuple):
            return [change(one) if isinstance(one, torch.Tensor) else one for one in value]
        return value

    return [changed(value) for value in args], {k: changed(v) for k, v in kwargs.items()}


def with_lengths_as_numbers(func: Any, args: Sequence[Any]) -> tuple[Any, Sequence[Any]]:
    """An operator, or that of ctc_loss which takes lengths as numbers, with its arguments.

    Where a dispatch mode is active, PyTorch hands lengths over as tensors, which a GPU refuses if
    they are on the CPU, as they often are.
    """
    overload, first = _OF_CTC.get(func, (None, 0))
    if overload is None or all(args[at].device == args[0].device for at in (first, first + 1)):
        return func, args
    lengths = [args[at].tolist() for at in (first, first + 1)]
    return overload, [*args[:first], *lengths, *args[first + 2 :]]


_OF_CTC = {
    torch.ops.aten._ctc_loss.Tensor: (torch.ops.aten._ctc_loss.default, 2),
    torch.ops.aten._ctc_loss_backward.Tensor: (torch.ops.aten._ctc_loss_backward.default, 3),
}
"""Overloads that take lengths as tensors, those that take numbers, and where the lengths stand."""


def written(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[torch.Tensor]:
    """The operands that an operator writes to."""
    places, names = _writes(func)
    if not places:
        return _statistics(func, args, kwargs) if func.name() in _WRITES_UNSAID else []
    given = [args[place] for place in places if place < len(args)]
    return operands(given, {name: kwargs[name] for name in names if name in kwargs})


_WRITES_UNSAID = {
    "aten::native_batch_norm",
    "aten::cudnn_batch_norm",
    "aten::miopen_batch_norm",
}
"""Kernels whose schema does not say that they write the running statistics."""


def _statistics(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[torch.Tensor]:
    """The running statistics that a batch norm updates."""
    given = named_arguments(func, args, kwargs)
    if not given.get("training", given.get("train")):
        return []
    return operands([given["running_mean"], given["running_var"]], {})


@functools.cache
def makes_tensors(func: Any) -> bool:
    """Whether an operator returns tensors, and not only numbers or truth values."""
    return any("Tensor" in str(one.type) for one in func._schema.returns)


@functools.cache
def _writes(func: Any) -> tuple[list[int], list[str]]:
    """The places and names of the arguments that an operator writes to, from its schema."""
    arguments = list(enumerate(func._schema.arguments))
    writes = [(n, a.name) for n, a in arguments if a.alias_info and a.alias_info.is_write]
    return [place for place, _ in writes], [name for _, name in writes]
