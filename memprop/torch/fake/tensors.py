"""Fake tensors instead of real ones: shape, type and device, without memory or numbers.

Operators on fake tensors compute no numbers (:mod:`torch._subclasses.fake_tensor`).
"""

import functools
import re
import traceback
from collections.abc import Callable, Iterable, Iterator
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
from torch.utils._mode_utils import no_dispatch

from memprop.errors import InvalidValueError
from memprop.torch.record.parts import parts, rewrapped, wraps
from memprop.torch.record.storages import be_again, be_replaced, stand_for

_HERE = Path(__file__).parents[1]


class Fakes:
    """Fake tensors for real ones.

    Two tensors that share a storage have fakes that share one. A fake that an operator is given
    keeps the storage of its real tensor alive, as a view would. One that takes the place of a real
    tensor has a storage of its own, which dies when the program releases it.

    Args:
        device: where the fake tensors claim to be. ``None`` means where the real ones are, and the
            CPU for those on the "meta" device.

    Attributes:
        mode: the mode in which operators on the fakes run.
    """

    def __init__(self, device: torch.device | str | None = None) -> None:
        self.mode = FakeTensorMode()
        self._device = None if device is None else _usable(device)
        # Weak: a fake that the step releases must die as the real tensor would.
        self._made: WeakValueDictionary[int, torch.Tensor] = WeakValueDictionary()
        self._storages: WeakValueDictionary[int, torch.UntypedStorage] = WeakValueDictionary()

        self._parameters: dict[int, torch.Tensor] = {}
        self._originals: list[torch.Tensor] = []
        self._moved: dict[int, torch.Tensor] = {}
        self._replaced: list[torch.UntypedStorage] = []

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        """The fake of a tensor: one with its shape, strides, storage and type."""
        if self.are_ours(tensor):
            return tensor
        if wraps(type(tensor)):
            return rewrapped(tensor, self.of)
        known = self._parameters.get(id(tensor))
        if known is not None and _is_shaped_like(known, tensor):
            return known
        return self._bare(tensor, replaces=False)

    def keep(self, tensor: torch.Tensor) -> torch.Tensor:
        """The fake of a tensor that was there before the step: the same one whenever it is asked.

        It needs a gradient if the tensor does, and has its gradient and hooks.
        """
        if self.are_ours(tensor):
            return tensor
        fake = self._made.get(id(tensor))
        if fake is None:
            self._originals.append(tensor)  # no other tensor may get its id meanwhile
            fake = self._made[id(tensor)] = self._like(tensor)
        return fake

    def remember(self, parameter: torch.Tensor) -> None:
        """Make the fake of a real parameter once, for all operators that will read it."""
        self._originals.append(parameter)
        self._parameters[id(parameter)] = self._bare(parameter, replaces=False)

    def are_ours(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor is one of these fakes, or wraps nothing else."""
        if wraps(type(tensor)):
            return all(map(self.are_ours, parts(tensor)))
        return isinstance(tensor, FakeTensor) and tensor.fake_mode is self.mode

    def move(self, tensors: Iterable[torch.Tensor]) -> None:
        """Let fakes take the place of tensors that would stay what they are."""
        self._moved |= {id(tensor): tensor for tensor in tensors}

    def are_made_now(self) -> bool:
        """Whether operators run on these fakes, and not on those of a mode inside."""
        active: Any = torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.FAKE)
        return active is self.mode

    def must_move(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor is elsewhere than its fake claims to be, as one on "meta" is."""
        foreign = isinstance(tensor, FakeTensor) and not self.are_ours(tensor)
        return foreign or id(tensor) in self._moved or self.device_of(tensor) != tensor.device

    def device_of(self, tensor: torch.Tensor) -> torch.device:
        """Where the fake of a tensor claims to be."""
        if self._device is not None:
            return self._device
        return torch.device("cpu") if tensor.device.type == "meta" else tensor.device

    def built(self, module: nn.Module | Callable[[], nn.Module]) -> nn.Module:
        """What a function that builds a module returns, without memory; a module as it is."""
        if isinstance(module, nn.Module) or not callable(module):
            return module
        with torch.device("meta"):  # a module of fake tensors could not be moved by .to(...)
            return module()

    def _like(self, tensor: torch.Tensor) -> torch.Tensor:
        if wraps(type(tensor)):
            fake = rewrapped(tensor, self.keep)
        else:
            fake = self._bare(tensor, replaces=True)
        if isinstance(tensor, nn.Parameter):
            vars(fake)["_is_param"] = True  # what makes it an instance of nn.Parameter
        if tensor.is_leaf:
            fake.requires_grad_(tensor.requires_grad)
        if tensor.is_leaf and tensor.requires_grad:
            _copy_hooks(tensor, fake)
            if tensor.grad is not None:
                fake.grad = self.of(tensor.grad)
        return fake

    def close(self) -> None:
        """Forget what was replaced."""
        for storage in self._replaced:
            be_again(storage)

    def _bare(self, tensor: torch.Tensor, *, replaces: bool) -> torch.Tensor:
        if tensor.layout != torch.strided:
            raise InvalidValueError(
                f"the step reads a tensor of layout {tensor.layout}, and a simulation knows dense "
                "ones only: use memprop.torch.trace"
            )
        with no_dispatch():
            storage = self._storage(tensor.untyped_storage(), replaces=replaces)
            meta = torch.empty(0, dtype=tensor.dtype, device="meta")
            meta.set_(storage, tensor.storage_offset(), tensor.size(), tensor.stride())
            return FakeTensor(self.mode, meta, self.device_of(tensor))

    def _storage(self, storage: torch.UntypedStorage, *, replaces: bool) -> torch.UntypedStorage:
        """The storage without memory for a real one."""
        shared = self._storages.get(storage._cdata)
        if shared is None:
            shared = torch.UntypedStorage(storage.nbytes(), device="meta")
            self._storages[storage._cdata] = shared
            if replaces:
                be_replaced(storage, shared)
                self._replaced.append(storage)
            else:
                stand_for(shared, storage)
        return shared


def _is_shaped_like(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and one.stride() == other.stride()


def _copy_hooks(tensor: torch.Tensor, fake: torch.Tensor) -> None:
    for hook in (tensor._backward_hooks or {}).values():
        fake.register_hook(hook)
    for hook in (tensor._post_accumulate_grad_hooks or {}).values():
        fake.register_post_accumulate_grad_hook(hook)


@contextmanager
def explained() -> Iterator[None]:
    """Say what a user can do where fake tensors fail."""
    try:
        yield
    except (DataDependentOutputException, DynamicOutputShapeException) as error:
        raise InvalidValueError(
            f"what the step does depends on the numbers in it ({_asked(error)}), and a simulation "
            "has none: use memprop.torch.trace, or simulate the part before or after"
        ) from error
    except UnsupportedOperatorException as error:
        raise _unknown_shape(str(error.func)) from error
    except NotImplementedError as error:
        named = re.search(r"aten::\w+", str(error))
        if named is None or "Meta" not in str(error):  # the user's own
            raise
        raise _unknown_shape(named.group()) from error
    except (TypeError, RuntimeError) as error:
        if not any(asked in str(error) for asked in _OF_NUMBERS):
            raise
        raise InvalidValueError(
            f"the step takes the numbers of a tensor out of it ({_asked(error)}), as text or as an "
            "array, and a simulation has none: use memprop.torch.trace, or leave that out"
        ) from error


_OF_NUMBERS = ("FakeTensor.__format__", ".numpy() is not supported for tensor subclasses")
"""In what PyTorch says where a fake tensor is written as text, or made an array."""


def _unknown_shape(operator: str) -> InvalidValueError:
    return InvalidValueError(
        f"PyTorch cannot tell the shape of what {operator} returns without running it: use "
        "memprop.torch.trace"
    )


def _asked(error: Exception) -> str:
    """Where the user's code, or a module of PyTorch's, asked for a number."""
    library, modules = Path(torch.__file__).parent, Path(nn.__file__).parent
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        foreign = not path.is_relative_to(library) and not path.is_relative_to(_HERE)
        if foreign or path.is_relative_to(modules):
            return f"{path.name}:{frame.lineno}"
    return str(error)


def named_device(device: torch.device | str) -> torch.device:
    """``device`` as a torch.device.

    Raises:
        InvalidValueError: PyTorch knows no such device.
    """
    try:
        return torch.device(device)
    except (RuntimeError, TypeError):
        raise InvalidValueError(f"unknown device {device!r}: name one as 'cpu' or 'cuda'") from None


def _usable(device: torch.device | str) -> torch.device:
    """``device`` as a torch.device, if this machine has it."""
    wanted = named_device(device)
    if wanted.type != "meta" and not has_device(wanted):
        # Autograd asks the driver of the device even for fake tensors, and may end the process.
        raise InvalidValueError(
            f"this machine, or this build of PyTorch, has no {device!r}, and PyTorch cannot "
            "pretend to be on one: simulate on 'cpu' or on 'cuda'"
        )
    return wanted


@functools.cache
def has_device(device: torch.device) -> bool:
    """Whether tensors with numbers can be made on a device."""
    if device.type == "meta":
        return False
    try:
        with no_dispatch():
            torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        return False
    return True
