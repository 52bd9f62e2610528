"""A task on fake tensors: the user's own module, inputs and optimizer, without their numbers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from memprop.torch.corrections import Corrections, check_kernels
from memprop.torch.fakes import Fakes, explained, faked, faked_optimizer
from memprop.torch.inputs import check_leaves, check_module, named
from memprop.torch.task import Optimizer, Task, task


@contextmanager
def without_memory(
    module: nn.Module | Callable[[], nn.Module],
    inputs: Any,
    *,
    target: Any,
    loss: Any,
    optimizer: Optimizer | None,
    device: torch.device | str | None = None,
    **parts: Any,
) -> Iterator[Task]:
    """The task, to be run inside the block; see :func:`memprop.torch.step.simulate`.

    Everything is as it was afterwards.
    """
    fakes = Fakes(device)
    with explained():
        built = fakes.built(module)
        check_module(built)
        check_kernels(built)
        check_leaves(dict(named(built, inputs)))
        inputs, target = fakes.tree(inputs), fakes.tree(target)
        with (
            faked(fakes, built, loss),
            faked_optimizer(fakes, optimizer),
            fakes.mode,
            Corrections(),
        ):
            yield task(built, inputs, target=target, loss=loss, optimizer=optimizer, **parts)
