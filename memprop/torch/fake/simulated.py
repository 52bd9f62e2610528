"""Code without numbers: the user's own modules, inputs and optimizers, on fake tensors."""

import importlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, Final
from unittest.mock import patch

import torch
import torch.distributed as dist
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils import _foreach_utils
from torch.utils._pytree import tree_map_only

from memprop.cuda.gpus import gpu_of
from memprop.torch.fake.collectives import check_not_spread, shapes_from_other_fakes
from memprop.torch.fake.cuda.devices import Devices
from memprop.torch.fake.cuda.ways import on_cuda
from memprop.torch.fake.ddp import make_reducers, with_reducers
from memprop.torch.fake.fsdp import settled
from memprop.torch.fake.known import Known
from memprop.torch.fake.stand_ins import StandIns
from memprop.torch.fake.tensors import Fakes, explained, named_device
from memprop.torch.fake.untouched import Untouched, same_random_numbers
from memprop.torch.inputs import check_dense, check_leaves, check_module, named
from memprop.torch.record.parts import wraps
from memprop.torch.record.scratch import Pretence
from memprop.torch.state.reach import Reach
from memprop.torch.task import Optimizer, Task, task

_OPTIMIZER: Final = importlib.import_module("torch.optim.optimizer")
"""``torch.optim`` has this name for another thing."""
_MOST_BYTES: Final = 2**23
"""A known tensor in a larger storage is not copied; it is known until something writes to it."""


class Simulation:
    """Code of the user's on fake tensors: see :func:`memprop.torch.step.simulate`.

    Leaves that need a gradient stay what they are: programs know them by their identity, in the
    keys of dictionaries and in hooks. All other tensors that the code can reach are replaced.
    Everything is as it was afterwards.

    Args:
        device: where to pretend that everything is.
        gpu: which GPU "cuda" is.
    """

    def __init__(self, device: torch.device | str | None = None, gpu: str = "h100") -> None:
        as_cuda = device is not None and named_device(device).type == "cuda"
        self._devices, self._gpu = (Devices(), gpu_of(gpu)) if as_cuda else (None, None)
        self.fakes, self._untouched = Fakes("cpu" if as_cuda else device), Untouched()
        self._known = Known(self.fakes, self._untouched, self._devices)
        self._stand_ins = StandIns(
            partial(_stand_in, self.fakes, self._known, self._untouched, self._devices)
        )
        self._in_ranks: list[nn.Module] = []

    @contextmanager
    def of(self, *parts: Any) -> Iterator[None]:
        """Replace tensors in all that can be reached from some parts, inside the block."""
        modules = _modules_in_ranks(parts)
        if self._devices is not None:
            check_not_spread(modules)
        self.fakes.move(with_reducers(modules))
        try:
            with settled(modules):
                self._stand_ins.replace(*parts)
                self._in_ranks = modules
                yield
        finally:
            self._stand_ins.put_back()
            self._untouched.put_back()
            self.fakes.close()
            self._known.close()

    def swapped(self, tree: Any) -> Any:
        """Arguments in which fake tensors take the place of real ones."""
        return tree_map_only(torch.Tensor, self._stand_ins.swapped, tree)

    @contextmanager
    def running(self) -> Iterator[Pretence | None]:
        """Run what runs inside the block on fake tensors; gives the device that it pretends."""
        modules = register_module_forward_pre_hook(self._look_into)
        optimizers = register_optimizer_step_pre_hook(self._look_into)
        way = nullcontext(None)
        kinds = [*_OPTIMIZER._foreach_supported_types, FakeTensor]
        if self._devices is not None and self._gpu is not None:
            way = on_cuda(self._gpu, self._devices)
        with (
            same_random_numbers(),
            patch.object(_OPTIMIZER, "_foreach_supported_types", kinds),
            patch.object(_foreach_utils, "_foreach_supported_types", kinds),
            modules,
            optimizers,
            shapes_from_other_fakes(),
            self.fakes.mode,
            self._known,
            way as pretence,
        ):
            make_reducers(self._in_ranks, self.fakes)
            yield pretence

    def _look_into(self, part: nn.Module | torch.optim.Optimizer, *_: Any) -> None:
        """Replace what is in a module or optimizer that nothing referred to before."""
        if isinstance(part, torch.optim.Optimizer) or not _is_made_in_the_step(
            part, self.fakes, self._known
        ):
            self._stand_ins.replace(part)


@contextmanager
def without_memory(
    module: nn.Module | Callable[[], nn.Module],
    inputs: Any,
    *,
    target: Any,
    loss: Any,
    optimizer: Optimizer | None,
    device: torch.device | str | None = None,
    gpu: str = "h100",
    **parts: Any,
) -> Iterator[Task]:
    """The task of a step, to be run inside the block, on fake tensors."""
    simulation = Simulation(device, gpu)
    with explained():
        built = simulation.fakes.built(module)
        check_module(built)
        check_dense(built)
        check_leaves(dict(named(built, inputs)))
        with simulation.of(built, loss, optimizer):
            inputs, target = simulation.swapped((inputs, target))
            with simulation.running() as pretence:
                todo = task(built, inputs, target=target, loss=loss, optimizer=optimizer, **parts)
                yield replace(todo, pretence=pretence)


def _modules_in_ranks(parts: Iterable[Any]) -> list[nn.Module]:
    """The modules that can be reached, where a process group may have spread them over ranks."""
    if not (dist.is_available() and dist.is_initialized()):
        return []
    found = [place.thing for place in Reach()(("", part) for part in parts)]
    return [thing for thing in found if isinstance(thing, nn.Module)]


def _stand_in(
    fakes: Fakes,
    known: Known,
    untouched: Untouched,
    devices: Devices | None,
    tensor: torch.Tensor,
) -> torch.Tensor:
    """What a step gets for a tensor of the user's."""
    with nullcontext() if devices is None else devices.internal():
        return _replaced(tensor, fakes, known, untouched)


def _replaced(
    tensor: torch.Tensor, fakes: Fakes, known: Known, untouched: Untouched
) -> torch.Tensor:
    if fakes.are_ours(tensor) or tensor.layout != torch.strided or known.was_made(tensor):
        return tensor
    if fakes.must_move(tensor):
        return fakes.keep(tensor)
    if tensor.requires_grad:
        if tensor.is_leaf:
            _prepare(tensor, fakes, untouched)
        return tensor  # what was computed before is refused where an operator reads it
    if known.is_known(tensor):
        return known.copy(tensor) if tensor.untyped_storage().nbytes() <= _MOST_BYTES else tensor
    return fakes.keep(tensor)


def _prepare(parameter: torch.Tensor, fakes: Fakes, untouched: Untouched) -> None:
    untouched.keep(parameter)
    if not wraps(type(parameter)):
        fakes.remember(parameter)
    gradient = parameter.grad
    if gradient is not None and gradient.layout == torch.strided:
        parameter.grad = fakes.of(gradient)


def _is_made_in_the_step(module: nn.Module, fakes: Fakes, known: Known) -> bool:
    held = (*module.parameters(), *module.buffers())
    return any(fakes.are_ours(tensor) or known.was_made(tensor) for tensor in held)
