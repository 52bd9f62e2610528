"""A program that asks for CUDA gets the CPU, whose fake tensors stand for CUDA's.

Tensors that the program makes on the CPU stay there: they are marked, and all others are said to
be on CUDA.
"""

import importlib
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final
from unittest.mock import patch

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.autograd.function import BackwardCFunction
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack

from memprop.torch.record.places import PINNED

_CUDA: Final = torch.device("cuda", 0)
_CPU: Final = torch.device("cpu")
_MARK: Final = "memprop_on_cpu"
_MOVES: Final = (torch.Tensor.to, torch.Tensor.cuda, torch.Tensor.cpu)
_RUN_BACKWARD: Final = (torch.Tensor.backward, torch.autograd.backward, torch.autograd.grad)
"""Functions within which hooks of the program run, whose tensors are its own."""
_AUTOGRAD: Final[Any] = vars(torch._C)["_autograd"]
_push_hooks: Final = _AUTOGRAD._push_saved_tensors_default_hooks
_AMP: Final = importlib.import_module("torch.cuda.amp.common")
"""torch.optim hides the name of this module."""


def host_of(tensor: torch.Tensor) -> str | None:
    """Where on the host a tensor is: "cpu" or "pinned"; ``None`` if it is on CUDA.

    It is on the host if the program made it there, and has not moved it to CUDA.
    """
    return vars(tensor.untyped_storage()).get(_MARK)


class Devices(TorchFunctionMode):
    """Says where tensors are, and turns CUDA into the CPU wherever a function is told a device."""

    def __init__(self) -> None:
        super().__init__()
        self._wanted: torch.device | None = None
        self._pins = False
        self._is_within = False
        self._internal = 0

    @contextmanager
    def pretended(self) -> Iterator[None]:
        """Let the program ask for CUDA inside the block."""
        with ExitStack() as stack:
            for owner, name, value in self._replaced():
                stack.enter_context(patch.object(owner, name, value))
            stack.enter_context(self)
            yield

    @contextmanager
    def internal(self) -> Iterator[None]:
        """Inside the block it is memprop or PyTorch that asks where a tensor is."""
        self._internal += 1
        try:
            yield
        finally:
            self._internal -= 1

    def place(self, made: Iterable[torch.Tensor], given: Iterable[torch.Tensor]) -> None:
        """Mark what an operator made on the CPU: of tensors of the CPU, or of none.

        What PyTorch makes of none within a function of CUDA's tensors, as a mask, is on CUDA.

        Args:
            made: the dense tensors that it returned.
            given: those that it was given.
        """
        given = list(given)
        known = {tensor.untyped_storage()._cdata for tensor in given}
        on_cpu = all(map(host_of, given)) and not (self._is_within and not given)
        if self._wanted is not None:
            on_cpu = self._wanted == _CPU
        for tensor in made if on_cpu else ():
            if tensor.untyped_storage()._cdata not in known:
                vars(tensor.untyped_storage())[_MARK] = PINNED if self._pins else "cpu"

    def of(self, tensor: torch.Tensor) -> torch.device:
        """Where a tensor is said to be."""
        return _CUDA if host_of(tensor) is None else _CPU

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if self._internal:
            return func(*args, **kwargs)
        if func is torch.Tensor.get_device:
            index = self.of(args[0]).index
            return -1 if index is None else index
        if func in _MOVES:
            return self._moved(func, args, kwargs)
        if func is torch.Tensor.is_pinned:
            return host_of(args[0]) == PINNED
        if func is torch.Tensor.pin_memory:
            return self._pinned(args[0])
        if kwargs.get("pin_memory"):
            with self._making(_CPU, pinned=True):
                return func(*args, **{**kwargs, "pin_memory": False})
        if "device" not in kwargs or kwargs["device"] is None:
            on_cuda = func not in _RUN_BACKWARD and self._any_on_cuda((*args, *kwargs.values()))
            before, self._is_within = self._is_within, on_cuda
            try:
                return func(*args, **kwargs)
            finally:
                self._is_within = before
        with self._making(_named(kwargs["device"])):
            return func(*args, **{**kwargs, "device": cpu_for(kwargs["device"])})

    def _any_on_cuda(self, args: Iterable[Any]) -> bool:
        """Whether a dense tensor of CUDA is among the arguments of a function, or in a list."""
        return any(
            isinstance(one, torch.Tensor)
            and not is_lazy(one)
            and one.layout == torch.strided
            and host_of(one) is None
            for arg in args
            for one in (arg if isinstance(arg, list | tuple) else (arg,))
        )

    def _moved(self, func: Any, args: Any, kwargs: dict[str, Any]) -> torch.Tensor:
        """A tensor moved: the same one if it is there already, else a copy."""
        tensor, *rest = args
        if func is torch.Tensor.to:
            places = [*rest, *kwargs.values()]
            named = [one for one in places if isinstance(one, str | int | torch.device)]
            named = [one for one in named if not isinstance(one, bool)]
            target = _named(named[0]) if named else self._target_of(rest, kwargs)
            kwargs = {key: cpu_for(value) for key, value in kwargs.items()}
            result = tensor.to(*map(cpu_for, rest), **kwargs)
        else:
            target = _CUDA if func is torch.Tensor.cuda else _CPU
            result = tensor
        if target is None or target == self.of(tensor) or tensor.layout != torch.strided:
            return result
        with self._making(target):
            return result.clone()

    def _target_of(self, args: Iterable[Any], kwargs: dict[str, Any]) -> torch.device | None:
        """The device of the tensor that another one is to be like."""
        others = [one for one in (*args, *kwargs.values()) if isinstance(one, torch.Tensor)]
        return self.of(others[0]) if others else None

    def _pinned(self, tensor: torch.Tensor) -> torch.Tensor:
        """A copy in pinned memory, or the tensor if it is there."""
        if host_of(tensor) is None:
            raise RuntimeError("only dense CPU tensors can be pinned, and this one is on CUDA")
        if host_of(tensor) == PINNED:
            return tensor
        with self._making(_CPU, pinned=True):
            return tensor.clone()

    @contextmanager
    def _making(self, device: torch.device, *, pinned: bool = False) -> Iterator[None]:
        before = self._wanted, self._pins
        self._wanted, self._pins = device, pinned
        try:
            yield
        finally:
            self._wanted, self._pins = before

    def _replaced(self) -> Iterator[tuple[Any, str, Any]]:
        """What in PyTorch answers for CUDA, and does not ask this mode."""
        for name in ("is_autocast_enabled", "get_autocast_dtype"):
            yield torch, name, _asked_of_the_cpu(getattr(torch, name))
        yield torch.autocast, "__init__", _autocast_of_cuda()
        yield _AUTOGRAD, "_push_saved_tensors_default_hooks", self._push_hooks
        # The program's own Functions run backward within what PyTorch handles.
        yield BackwardCFunction, "apply", self._inside(BackwardCFunction.apply)
        # Weights of recurrent layers are not laid out anew: there is no cuDNN to ask how.
        yield torch.backends.cudnn, "is_acceptable", lambda _: False
        # A scaler that the step makes works, though there is no CUDA.
        yield _AMP, "amp_definitely_not_available", lambda: False
        for name, answer in _ANSWERS.items():
            for kind in (torch.Tensor, FakeTensor):
                real = getattr(kind, name).__get__
                yield kind, name, property(self._asked(real, answer))

    def _inside(self, function: Any) -> Any:
        """A function with this mode on, for the program's code that runs inside an operator.

        PyTorch turns a mode off while it handles an operator.
        """

        def run(*args: Any, **kwargs: Any) -> Any:
            if self in _get_current_function_mode_stack():
                return function(*args, **kwargs)
            with self:
                return function(*args, **kwargs)

        return run

    def _push_hooks(self, pack: Any, unpack: Any) -> None:
        """Hooks on what autograd saves, as those of checkpoints and ``save_on_cpu``."""
        _push_hooks(self._inside(_with_cuda(pack)), self._inside(unpack))

    def _asked(self, real: Any, answer: Any) -> Any:
        """An attribute that says where a tensor is: the truth to memprop and PyTorch alone."""
        mine = threading.get_ident()

        def asked(tensor: torch.Tensor) -> Any:
            program = not self._internal and threading.get_ident() == mine
            if not program or tensor.layout != torch.strided or _runs_in_a_kernel(tensor):
                return real(tensor)
            return answer(self.of(tensor))

        return asked


_ANSWERS: Final = {
    "device": lambda device: device,
    "is_cuda": lambda device: device.type == "cuda",
    "is_cpu": lambda device: device.type == "cpu",
}
"""Attributes that say where a tensor is, with their answers."""


def _with_cuda(pack: Any) -> Any:
    """A hook that finds CUDA available: ``save_on_cpu`` pins memory only then."""

    def packed(tensor: torch.Tensor) -> Any:
        with patch.object(torch.cuda, "is_available", lambda: True):
            return pack(tensor)

    return packed


def _runs_in_a_kernel(tensor: torch.Tensor) -> bool:
    return isinstance(tensor, FakeTensor) and tensor.fake_mode.in_kernel_invocation


def _named(device: Any) -> torch.device:
    """A device by any of its names; a number is one of CUDA."""
    if isinstance(device, int):
        return torch.device("cuda", device)
    return torch.device(device)


def cpu_for(value: Any) -> Any:
    """The CPU in place of CUDA; anything that is no device as it is."""
    if isinstance(value, bool | torch.dtype) or not isinstance(value, str | int | torch.device):
        return value
    return _CPU if _named(value).type == "cuda" else value


def _asked_of_the_cpu(function: Any) -> Any:
    def asked(device_type: str = "cuda") -> Any:
        return function("cpu" if device_type == "cuda" else device_type)

    return asked


def _autocast_of_cuda() -> Any:
    begin = torch.autocast.__init__

    def __init__(self: Any, device_type: str, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        begin(self, "cpu" if device_type == "cuda" else device_type, *args, **kwargs)

    return __init__
