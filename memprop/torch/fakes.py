"""Modules, optimizers and inputs without their numbers: fake tensors in the place of real ones.

A fake tensor has a shape, a type and a device, and no memory; operators on it compute no numbers
(:mod:`torch._subclasses.fake_tensor`).
"""

import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
    UnsupportedOperatorException,
)
from torch.utils._pytree import tree_map

from memprop.errors import InvalidValueError

_HERE = Path(__file__).parent


class Fakes:
    """Fake tensors for real ones, the same one for the same one.

    Args:
        device: where the fake tensors claim to be; where the real ones are if ``None``, and on the
            CPU for those on the "meta" device.
    """

    def __init__(self, device: torch.device | str | None = None) -> None:
        self.mode = FakeTensorMode(allow_non_fake_inputs=True)
        self._device = None if device is None else _usable(device)
        # Weak, for a fake that the step lets go of must die as the real tensor would.
        self._made: WeakValueDictionary[int, torch.Tensor] = WeakValueDictionary()
        self._storages: WeakValueDictionary[int, torch.UntypedStorage] = WeakValueDictionary()
        self._kept: list[torch.Tensor] = []

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        """The fake of a tensor, with its shape, strides, storage, type, and need of a gradient."""
        if isinstance(tensor, FakeTensor) and tensor.fake_mode is self.mode:
            return tensor
        fake = self._made.get(id(tensor))
        if fake is None:
            self._kept.append(tensor)  # no other tensor may get its id meanwhile
            fake = self._made[id(tensor)] = self._make(tensor)
        return fake

    def built(self, module: nn.Module | Callable[[], nn.Module]) -> nn.Module:
        """What a function that builds a module returns, without memory; a module as it is."""
        if isinstance(module, nn.Module) or not callable(module):
            return module
        with torch.device("meta"):  # a module of fake tensors could not be moved by .to(...)
            return module()

    def tree(self, tree: Any) -> Any:
        """``tree`` with every tensor in it replaced by its fake."""
        return tree_map(
            lambda leaf: self.of(leaf) if isinstance(leaf, torch.Tensor) else leaf, tree
        )

    def _make(self, tensor: torch.Tensor) -> torch.Tensor:
        if _is_counter(tensor):
            return self._constant(tensor)
        fake: torch.Tensor = FakeTensor(
            self.mode, self._without_memory(tensor), self._where(tensor)
        )
        if isinstance(tensor, nn.Parameter):
            fake = nn.Parameter(fake, requires_grad=tensor.requires_grad)
        elif tensor.is_leaf:
            fake.requires_grad_(tensor.requires_grad)
        if tensor.is_leaf and tensor.grad is not None:
            fake.grad = self.of(tensor.grad)
        return fake

    def _constant(self, tensor: torch.Tensor) -> torch.Tensor:
        """A fake that knows its number, and stays on the CPU, where counters of steps are."""
        converter = self.mode.fake_tensor_converter
        return converter.from_real_tensor(self.mode, tensor.clone(), make_constant=True)

    def _without_memory(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor on the "meta" device; two that share a storage share one again."""
        storage = tensor.untyped_storage()
        shared = self._storages.get(storage._cdata)
        if shared is None:
            shared = torch.UntypedStorage(storage.nbytes(), device="meta")
            self._storages[storage._cdata] = shared
        meta = torch.empty(0, dtype=tensor.dtype, device="meta")
        return meta.set_(shared, tensor.storage_offset(), tensor.size(), tensor.stride())

    def _where(self, tensor: torch.Tensor) -> torch.device:
        if self._device is not None:
            return self._device
        return torch.device("cpu") if tensor.device.type == "meta" else tensor.device


@contextmanager
def faked(fakes: Fakes, *modules: object) -> Iterator[None]:
    """Fake tensors in the place of all that the modules hold, inside the block.

    These are their parameters, buffers, and tensors that are plain attributes.
    """
    tables: list[dict[str, Any]] = [
        table
        for module in modules
        if isinstance(module, nn.Module)
        for part in module.modules()
        for table in (part._parameters, part._buffers, vars(part))
    ]
    before = [dict(table) for table in tables]
    try:
        for table in tables:
            tensors = {name: t for name, t in table.items() if isinstance(t, torch.Tensor)}
            table.update({name: fakes.of(tensor) for name, tensor in tensors.items()})
        yield
    finally:
        for table, real in zip(tables, before, strict=True):
            table.clear()
            table.update(real)


@contextmanager
def faked_optimizer(fakes: Fakes, optimizer: object) -> Iterator[None]:
    """Fake parameters and state in the place of the optimizer's own, inside the block."""
    if not isinstance(optimizer, torch.optim.Optimizer):
        yield
        return
    groups, state = optimizer.param_groups, optimizer.state
    fake_state = defaultdict(dict, {fakes.of(p): fakes.tree(dict(s)) for p, s in state.items()})
    try:
        optimizer.param_groups = [fakes.tree(dict(group)) for group in groups]
        optimizer.state = fake_state
        yield
    finally:
        optimizer.param_groups, optimizer.state = groups, state


@contextmanager
def explained() -> Iterator[None]:
    """Say what a user can do where fake tensors give up."""
    try:
        yield
    except (DataDependentOutputException, DynamicOutputShapeException) as error:
        raise InvalidValueError(
            f"what the step does depends on the numbers in it ({_asked(error)}), and a simulation "
            "has none: use memprop.torch.trace, or simulate the part before or after"
        ) from error
    except UnsupportedOperatorException as error:
        raise InvalidValueError(
            f"PyTorch cannot tell the shape of what {error.func} returns without running it: use "
            "memprop.torch.trace"
        ) from error


def _is_counter(tensor: torch.Tensor) -> bool:
    """Whether this may be a number that a program asks for, as Adam does for its count of steps."""
    plain = not tensor.requires_grad and not isinstance(tensor, FakeTensor)
    return plain and tensor.dim() == 0 and tensor.device.type == "cpu"


def _asked(error: Exception) -> str:
    """Where the user's code, or a module of PyTorch's, asked for a number."""
    library, modules = Path(torch.__file__).parent, Path(nn.__file__).parent
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        foreign = not path.is_relative_to(library) and not path.is_relative_to(_HERE)
        if foreign or path.is_relative_to(modules):
            return f"{path.name}:{frame.lineno}"
    return str(error)


def _usable(device: torch.device | str) -> torch.device:
    """``device`` as a torch.device, if this machine has it."""
    try:
        wanted = torch.device(device)
    except (RuntimeError, TypeError):
        raise InvalidValueError(f"unknown device {device!r}: name one as 'cpu' or 'cuda'") from None
    try:
        torch.empty(0, device=wanted)
    except (RuntimeError, AssertionError):
        # Autograd asks the driver of the device even for fake tensors, and may end the process.
        raise InvalidValueError(
            f"this machine, or this build of PyTorch, has no {device!r}, and PyTorch cannot "
            "pretend to be on one: simulate on 'cpu'"
        ) from None
    return wanted
