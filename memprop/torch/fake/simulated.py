"""A task without numbers: the user's own module, inputs and optimizer, on fake tensors."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_pre_hook
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
from memprop.torch.task import Optimizer, Task, task

_MOST_BYTES = 2**23
"""A known tensor in a larger storage is not copied; it is known until something writes to it."""


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
    """The task, to be run inside the block; see :func:`memprop.torch.step.simulate`.

    Leaves that need a gradient stay what they are: programs know them by their identity, in the
    keys of dictionaries and in hooks. All other tensors that the step can reach are replaced.
    Everything is as it was afterwards.
    """
    as_cuda = device is not None and named_device(device).type == "cuda"
    fakes, untouched = Fakes("cpu" if as_cuda else device), Untouched()
    devices, on = (Devices(), gpu_of(gpu)) if as_cuda else (None, None)
    known = Known(fakes, untouched, devices)

    def stand_in(tensor: torch.Tensor) -> torch.Tensor:
        with nullcontext() if devices is None else devices.internal():
            return _stand_in(tensor, fakes, known, untouched)

    stand_ins = StandIns(stand_in)

    def look_into(part: nn.Module | torch.optim.Optimizer, *_: Any) -> None:
        """Replace what is in a module or optimizer that nothing referred to before."""
        if isinstance(part, torch.optim.Optimizer) or not _is_made_in_the_step(part, fakes, known):
            stand_ins.replace(part)

    with explained(), ExitStack() as stack:
        built = fakes.built(module)
        check_module(built)
        check_dense(built)
        check_leaves(dict(named(built, inputs)))
        if as_cuda:
            check_not_spread(built)
        fakes.move(with_reducers(built))
        stack.enter_context(settled(built))
        try:
            stand_ins.replace(built, loss, optimizer)
            inputs, target = tree_map_only(torch.Tensor, stand_ins.swapped, (inputs, target))
            modules = register_module_forward_pre_hook(look_into)
            optimizers = register_optimizer_step_pre_hook(look_into)
            way = nullcontext(None)
            if devices is not None and on is not None:
                way = on_cuda(on, devices)
            shapes = shapes_from_other_fakes()
            with (
                same_random_numbers(),
                modules,
                optimizers,
                shapes,
                fakes.mode,
                known,
                way as pretence,
            ):
                make_reducers(built, fakes)
                todo = task(built, inputs, target=target, loss=loss, optimizer=optimizer, **parts)
                yield replace(todo, pretence=pretence)
        finally:
            stand_ins.put_back()
            untouched.put_back()
            fakes.close()
            known.close()


def _stand_in(
    tensor: torch.Tensor, fakes: Fakes, known: Known, untouched: Untouched
) -> torch.Tensor:
    """What a step gets for a tensor of the user's."""
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
