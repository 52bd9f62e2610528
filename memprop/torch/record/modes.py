"""Dispatch modes that are switched on and off in the middle of a program."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch.utils import _python_dispatch
from torch.utils._python_dispatch import TorchDispatchMode


@contextmanager
def pushed(mode: TorchDispatchMode) -> Iterator[None]:
    """Have a dispatch mode active inside the block, which need not end where it began.

    Modes are a stack, and the program may have put others on it since, or taken some off it.
    """
    mode.__enter__()
    try:
        yield
    finally:
        above = _taken_off(mode)
        mode.__exit__(None, None, None)
        for other in above:
            _python_dispatch._push_mode(other)


def _taken_off(mode: TorchDispatchMode) -> list[TorchDispatchMode]:
    """The modes above one, which were taken off the stack, the lowest first."""
    above: list[TorchDispatchMode] = []
    while (top := _python_dispatch._get_current_dispatch_mode()) is not mode and top is not None:
        _python_dispatch._pop_mode()
        above.insert(0, top)
    return above
