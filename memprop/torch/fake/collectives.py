"""Collectives that move no numbers: every rank but this one is pretended, or simulated."""

import importlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode

from memprop.errors import InvalidValueError
from memprop.torch.record.communication import is_collective
from memprop.torch.record.parts import any_wraps, wraps


class Collectives(TorchDispatchMode):
    """Hands out the results of collectives of PyTorch's fake process group.

    DDP asks for the result of an all-reduce, and gets none from that.
    """

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if any_wraps(types):
            return NotImplemented
        result = func(*args, **(kwargs or {}))
        return at_once(func, args) if is_collective(func) else result


def check_not_spread(modules: Iterable[nn.Module]) -> None:
    """Raise InvalidValueError if a module is spread over ranks, whose buffers are on the CPU."""
    if any(
        isinstance(part, DistributedDataParallel)
        or any(wraps(type(parameter)) for parameter in part.parameters(recurse=False))
        for part in modules
    ):
        raise InvalidValueError(
            "a module that is spread over ranks cannot be simulated as on a GPU: leave device out, "
            "and use a mesh of 'cpu'"
        )


@contextmanager
def shapes_from_other_fakes() -> Iterator[None]:
    """Let DTensor ask for the shapes of whole tensors on fakes of its own, inside the block.

    It would take those of the step, as if the step had made whole tensors.
    """
    propagation = sys.modules.get("torch.distributed.tensor._sharding_prop")
    if propagation is None:  # there is no DTensor
        yield
        return
    with patch.object(propagation, "detect_fake_mode", lambda *_: None):
        yield


def at_once(func: Any, args: Sequence[Any]) -> Any:
    """What a collective of a process group returns: its first operand, and that it is done."""
    returns = len(func._schema.returns)
    if not returns:
        return None
    work = _done(args[0])
    return (args[0], work) if returns > 1 else work


def _done(result: Any) -> Any:
    """The handle of a collective that has ended, with what it leaves for DDP."""
    tensors = result if isinstance(result, list | tuple) else [result]
    future: torch.futures.Future[Any] = torch.futures.Future()
    future.set_result([one for one in tensors if isinstance(one, torch.Tensor)])
    # Not in every build, nor in the stubs.
    c10d: Any = importlib.import_module("torch._C._distributed_c10d")
    return c10d._create_work_from_future(future).boxed()
