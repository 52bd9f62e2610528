"""What blocks must find as it was when they run again, and must leave as it is."""

import random
import weakref
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from memprop.errors import ScheduleError


class Again:
    """The context of the second run of some blocks, and of a third: ``with again: ...``.

    Made when they run first. The random numbers of Python and NumPy repeat themselves in it (those
    of PyTorch are the checkpoint's business), and the running statistics of batch norm stay as they
    are: the first run has updated them.

    Args:
        modules: the blocks.
        name: the path of the first one.
        given: what that is given, in the first run and again.
    """

    def __init__(self, modules: Sequence[nn.Module], name: str, given: torch.Tensor) -> None:
        self._modules = modules
        self._name = name
        self._given = weakref.ref(given)  # whoever runs the blocks again holds it
        self._version = given._version
        self._random = _random_states()
        self._open: list[AbstractContextManager[None]] = []

    def __enter__(self) -> None:
        """Raise ScheduleError if the first block would not get what it got the first time."""
        given = self._given()
        if given is not None and given._version != self._version:
            raise ScheduleError(
                f"what {self._name} was given has been written to since, so that it cannot run "
                "again: do not write over it in place"
            )
        self._open.append(self._as_it_was())
        self._open[-1].__enter__()

    def __exit__(self, *error: object) -> None:
        self._open.pop().__exit__(None, None, None)  # whatever happened, all is put back

    @contextmanager
    def _as_it_was(self) -> Iterator[None]:
        now = _random_states()
        kept = [(buffer, buffer.clone()) for buffer in _statistics(self._modules)]
        _set_random_states(self._random)
        yield
        _set_random_states(now)
        with torch.no_grad():
            for buffer, before in kept:
                buffer.copy_(before)


def keeps_statistics(module: nn.Module) -> bool:
    """Whether a module is a batch norm, whose statistics are put back after a second run."""
    return isinstance(module, _NormBase)


def _statistics(modules: Sequence[nn.Module]) -> Iterator[torch.Tensor]:
    """The running statistics that the blocks update."""
    for module in modules:
        for part in module.modules():
            if isinstance(part, _NormBase) and part.training and part.track_running_stats:
                yield from part.buffers(recurse=False)


def _random_states() -> tuple[object, ...]:
    return random.getstate(), np.random.get_state()  # noqa: NPY002 - the user's code may use it


def _set_random_states(states: tuple) -> None:
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
