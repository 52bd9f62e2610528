"""FSDP2 before a simulated step: what its lazy initialisation would ask real tensors for."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from torch import nn

_UNSHARDED = ("_unsharded_param", "all_gather_outputs", "_unsharded_inner_tensors")
"""What an FSDP parameter keeps between steps: tensors whose storages are empty."""


@contextmanager
def settled(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Let each sharded module be as it is before its first step, but initialised, in the block.

    FSDP2 compares addresses to see whether a shard was replaced since it was made. Fakes have none,
    so it would pad all shards anew. Call this while they are real.
    """
    with ExitStack() as stack:
        for group in _groups(modules):
            if not group.is_sharded:
                continue
            if not getattr(group, "_reset_sharded_params", True):
                for one in group.fsdp_params:
                    one.reset_sharded_param()
                stack.enter_context(patch.object(group, "_reset_sharded_params", True))
            for one in group.fsdp_params:
                stack.enter_context(_without_unsharded(one))
        yield


@contextmanager
def _without_unsharded(parameter: Any) -> Iterator[None]:
    table = vars(parameter)
    kept = {name: table.pop(name) for name in _UNSHARDED if name in table}
    parameter.all_gather_outputs = []
    parameter._unsharded_inner_tensors = []
    try:
        yield
    finally:
        for name in _UNSHARDED:
            table.pop(name, None)
        table.update(kept)


def _groups(modules: Iterable[nn.Module]) -> list[Any]:
    """The groups of parameters that are gathered together, each once."""
    sharded = getattr(sys.modules.get("torch.distributed.fsdp"), "FSDPModule", None)
    if sharded is None:  # nothing is sharded
        return []
    parts: list[Any] = [part for part in modules if isinstance(part, sharded)]
    states = {id(state): state for state in (part._get_fsdp_state() for part in parts)}
    return [group for state in states.values() for group in _groups_of(state)]


def _groups_of(state: Any) -> list[Any]:
    groups = getattr(state, "_fsdp_param_groups", None)
    if groups is not None:
        return groups
    group = state._fsdp_param_group  # before PyTorch 2.12 there is one at most
    return [] if group is None else [group]
