"""What blocks must find as it was when they run again, and must leave as it is."""

import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules import batchnorm, instancenorm
from torch.nn.modules.batchnorm import _NormBase

from memprop.errors import ScheduleError
from memprop.torch.state.ambient import random_states, set_random_states
from memprop.torch.state.places import TENSOR
from memprop.torch.state.reach import Reach, Snapshot


class RecomputeContext:
    """The context of the second run of some blocks, and of a third: ``with again: ...``.

    Made when they run first. In it, all that the blocks can reach holds what it held before the
    first run: attributes, containers, generators of random numbers, those of Python and NumPy
    included (those of PyTorch are the checkpoint's business), and the tensors that they write to.
    Afterwards everything holds again what it held before: the first run has acted, the second
    leaves no trace.

    Args:
        blocks: by path; the first one comes first.
        given: what that is given, in the first run and again.
        arguments: the others that the blocks are called with, by name.
        kept: of each block the names of the tensors that it writes to.
        reach: finds what they can reach.
    """

    def __init__(
        self,
        blocks: Mapping[str, nn.Module],
        given: torch.Tensor,
        arguments: Sequence[tuple[str, Any]] = (),
        kept: Mapping[str, Sequence[str]] | None = None,
        reach: Reach | None = None,
    ) -> None:
        self._name = next(iter(blocks))
        self._blocks = list(blocks.values())
        self._given = weakref.ref(given)  # whoever runs the blocks again holds it
        self._version = given._version
        self._random = random_states()
        places = (reach or Reach())([*blocks.items(), *arguments])
        self._places = [place for place in places if place.kind is not TENSOR]
        self._before = Snapshot.of(self._places).without_graph()
        tables = [
            *(
                table_of(blocks[path], dotted)
                for path in kept or {}
                for dotted in (kept or {})[path]
            ),
            *_statistics(self._blocks),
        ]
        self._kept = [(table, name, _copy(table[name])) for table, name in tables]
        known = {id(given), *(id(table[name]) for table, name in tables)}
        own = {id(part) for block in self._blocks for part in block.modules()}
        self._tensors = Snapshot.of(
            place
            for place in places
            if place.kind is TENSOR and place.thing.is_leaf and id(place.thing) not in known
            if place.attribute is None or id(place.attribute[0]) in own
        )
        self._open: list[AbstractContextManager[None]] = []

    @property
    def updates_statistics(self) -> bool:
        """Whether kernels write to running statistics after they are saved for backward."""
        return any(True for _ in _statistics(self._blocks))

    def __enter__(self) -> None:
        """Raise ScheduleError if the blocks would not get what they got the first time."""
        given = self._given()
        if given is not None and given._version != self._version:
            raise ScheduleError(
                f"what {self._name} was given has been written to since, so that it cannot run "
                "again: do not write over it in place"
            )
        for place, _ in self._tensors.changed():
            raise ScheduleError(
                f"{place.path} has been written to since {self._name} ran, so that it cannot run "
                "again: write to it after backward, or leave this block out of the plan"
            )
        self._open.append(self._as_it_was())
        self._open[-1].__enter__()

    def __exit__(self, *error: object) -> None:
        self._open.pop().__exit__(None, None, None)  # whatever happened, all is put back

    @contextmanager
    def _as_it_was(self) -> Iterator[None]:
        states, now = random_states(), Snapshot.of(self._places)
        self._before.put_back()
        for table, name, before in self._kept:
            table[name] = _copy(before)
        set_random_states(self._random)
        yield
        set_random_states(states)
        now.put_back()


def table_of(block: nn.Module, dotted: str) -> tuple[dict[str, Any], str]:
    """The table in which a module has a tensor that is no parameter, and its name in there."""
    path, _, name = dotted.rpartition(".")
    part = block.get_submodule(path)
    return (part._buffers if name in part._buffers else vars(part)), name


def keeps_statistics(module: nn.Module) -> bool:
    """Whether a module is one of PyTorch's batch norms, which update statistics in training."""
    return isinstance(module, _NormBase) and type(module).__module__ in _NORMS


_NORMS = {batchnorm.__name__, instancenorm.__name__}


def _statistics(modules: Sequence[nn.Module]) -> Iterator[tuple[dict[str, Any], str]]:
    """The tables and names of the running statistics that the blocks update."""
    for module in modules:
        for part in module.modules():
            if keeps_statistics(part) and part.training:
                for name, buffer in part._buffers.items():
                    if buffer is not None:
                        yield part._buffers, name


def _copy(tensor: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return tensor.detach().clone()
