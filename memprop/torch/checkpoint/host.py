"""What waits in host memory for the backward pass, instead of on the device."""

import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

import torch

from memprop.torch.record.again import running_again

if TYPE_CHECKING:
    from memprop.torch.checkpoint.values import Value


class Loaded(tuple[int, ...]):
    """The path of a call whose results are copied back from the host, not computed again."""


LOADED: Final = Loaded()


class Offloaded:
    """The way back to a value that waits in host memory. It stands where a call would run again.

    The copies are made in the stream of the computation: they take their time, and the bytes on
    the device are free from the same moment on in every step.

    Attributes:
        number: among the calls of the forward pass that run again, in order.
        inputs: the values that it needs: none.
        changed: the value that it writes over: none.
    """

    __slots__ = ("_device", "_host", "_made", "_there", "_token", "number")

    inputs: Final = ()
    changed: Final = None

    def __init__(self, number: int, token: object) -> None:
        self.number = number
        self._token = token
        self._made: weakref.ref[Value] | None = None
        self._there: Callable[[], torch.Tensor] | None = None
        self._host: torch.Tensor | None = None
        self._device: torch.device | None = None

    def made(self, value: "Value") -> None:
        """Say of which value it is the way back."""
        self._made = weakref.ref(value)

    def values(self) -> "Iterator[Value]":
        """The value, if anyone still wants it."""
        if self._made is not None and (value := self._made()) is not None:
            yield value

    def hold(self, whole: Callable[[], torch.Tensor]) -> None:
        """Keep it on the device until a node saves it, for a call that may run again reads it."""
        if self._host is None:
            self._there = whole

    def store(self, whole: torch.Tensor) -> None:
        """A node saves it: copy it to the host, once."""
        if self._host is not None:
            return
        pins = whole.is_cuda and torch.cuda.is_available()
        host = torch.empty(whole.shape, dtype=whole.dtype, device="cpu", pin_memory=pins)
        self._host = host.copy_(whole, non_blocking=True)
        self._device = whole.device
        self._there = None

    def run(self, _: Callable[[Any], torch.Tensor]) -> list[torch.Tensor]:
        """Bring it back."""
        if self._host is None:
            assert self._there is not None  # noqa: S101 - it was saved, or something reads it
            return [self._there()]
        with running_again(self._token):
            whole = torch.empty(self._host.shape, dtype=self._host.dtype, device=self._device)
            return [whole.copy_(self._host, non_blocking=True)]
