"""DDP on fakes of its parameters: its reducer, which is C++, has to be made for these."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from torch import nn
from torch.nn.parallel import DistributedDataParallel, distributed

from memprop.torch.fake.tensors import Fakes


@contextmanager
def ranks_agree() -> Iterator[None]:
    """Let DDP take it that all ranks have the same parameters, inside the block.

    It would ask them, and numbers of parameters on "meta" cannot be asked for.
    """
    with patch.object(distributed, "_verify_param_shape_across_processes", lambda *_: None):
        yield


def with_reducers(modules: Iterable[nn.Module]) -> Iterator[nn.Parameter]:
    """The parameters whose gradients a reducer of DDP waits for."""
    for part in modules:
        if isinstance(part, DistributedDataParallel):
            yield from part.parameters()


def make_reducers(modules: Iterable[nn.Module], fakes: Fakes) -> None:
    """Give each DDP module whose parameters are fakes a reducer that follows these.

    Its buckets are made as those of the first one were, when DDP wrapped the module. What the
    module had before is put back with all other attributes.
    """
    for part in modules:
        if isinstance(part, DistributedDataParallel):
            parameters, sparse = part._build_params_for_reducer()
            if any(map(fakes.are_ours, parameters)):
                names = part._build_debug_param_to_name_mapping(parameters)
                part._ddp_init_helper(parameters, sparse, names, part.static_graph)
                _set_up_again(part)


def _set_up_again(module: Any) -> None:
    """Tell the new reducer what the first one was told after it was made."""
    if module.static_graph:
        module.reducer._set_static_graph()
        module.logger._set_static_graph()
    hooks, module._comm_hooks = module._comm_hooks, []
    for hook, state in hooks:
        module.register_comm_hook(state, hook)
