"""A copy of a module that shares its tensors."""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from memprop.errors import InvalidValueError
from memprop.torch.state.places import TENSOR, TORCH_GENERATOR
from memprop.torch.state.reach import Reach


def shared_copy(module: nn.Module) -> nn.Module:
    """A copy of a module, with the same parameters, buffers and other tensors in it.

    Raises:
        InvalidValueError: the module holds what cannot be copied.
    """
    try:
        return copy.deepcopy(module, _known(module))
    except TypeError as error:
        raise InvalidValueError(
            f"{type(module).__name__} cannot be copied ({error}), as a planned module is one that "
            "shares its tensors: take what cannot be copied out of the module's attributes"
        ) from error


def held_tensors(module: nn.Module) -> Iterator[torch.Tensor]:
    """Every tensor that the module holds, parameters, buffers and plain attributes."""
    for part in module.modules():
        for table in (part._parameters, part._buffers, vars(part)):
            yield from (held for held in table.values() if isinstance(held, torch.Tensor))


def _known(module: nn.Module) -> dict[int, Any]:
    """What a copy of the module has instead of the object with this identity: the same tensors."""
    known: dict[int, Any] = {id(tensor): tensor for tensor in held_tensors(module)}
    for found in Reach()([("", module)]):
        if found.kind is TENSOR:
            known[id(found.thing)] = found.thing
        elif found.kind is TORCH_GENERATOR:
            known[id(found.thing)] = _copied(found.thing)
    return known


def _copied(generator: torch.Generator) -> torch.Generator:
    with torch._C._DisableTorchDispatch():  # a mode with fake tensors cannot copy it
        return copy.deepcopy(generator)
