"""Whose work hooks of PyTorch see: they are the whole program's, a recording is one thread's."""

import os
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from torch._subclasses.fake_tensor import FakeTensor


class Ours:
    """Tells whether what runs now is part of what is recorded.

    Not so is what other threads of the program do, what a process does that was forked off, as a
    worker of a DataLoader, and what a simulation does within a recording.

    Args:
        passes: whether a backward pass of the recording runs; its engine has threads of its own.
    """

    def __init__(self, passes: Callable[[], bool]) -> None:
        self._passes = passes
        self.begin()

    def begin(self) -> None:
        """The recording goes on in this thread."""
        self._thread, self._process = threading.get_ident(), os.getpid()
        self._fakes = fake_mode()

    def __call__(self) -> bool:
        """Whether it is ours."""
        thread = threading.get_ident()
        if thread != self._thread and not (self._passes() and not _is_of_python(thread)):
            return False
        return os.getpid() == self._process and fake_mode() is self._fakes


def fake_mode() -> Any:
    """The mode in which fake tensors are made now, if one is active."""
    return torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.FAKE)


def asked_device(func: Any, args: Sequence[Any]) -> torch.device | None:
    """The device of a fake tensor, if an operator asks for it and does nothing else.

    PyTorch asks more often than it computes, through every dispatch mode there is.
    """
    if func is not _DEVICE or type(args[0]) is not FakeTensor:
        return None
    return None if args[0].fake_mode.in_kernel_invocation else args[0].fake_device


_DEVICE: Final = torch.ops.prim.device.default


def _is_of_python(thread: int) -> bool:
    """Whether Python began a thread, and not the engine of autograd."""
    return any(one.ident == thread for one in threading.enumerate())
