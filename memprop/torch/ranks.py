"""One rank of many, on a machine without the others: PyTorch's fake process group."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch.distributed as dist

from memprop.checks import check_integer_from_zero, check_positive_integer
from memprop.errors import InvalidValueError, PhaseError
from memprop.torch.fake.collectives import Collectives
from memprop.torch.fake.ddp import ranks_agree


@contextmanager
def pretend_ranks(world_size: int, rank: int = 0) -> Iterator[None]:
    """Let this process be one rank of ``world_size``, inside the block.

    The process group is PyTorch's fake one. Its collectives return at once and move no numbers, so
    a module that was wrapped in :class:`~torch.nn.parallel.DistributedDataParallel`, sharded by
    ``fully_shard`` or ``parallelize_module`` inside the block can be simulated there, as that rank
    would run it. The group is gone after the block, whatever happens in it.

    >>> with pretend_ranks(world_size=64):
    ...     dist.get_world_size()
    64

    Args:
        world_size: how many ranks there are.
        rank: which of them this process is, from 0.

    Raises:
        InvalidValueError: a number is impossible.
        InvalidTypeError: it is none.
        PhaseError: there is a process group already.
    """
    count = check_positive_integer("world_size", world_size)
    place = check_integer_from_zero("rank", rank)
    if place >= count:
        raise InvalidValueError(f"rank must be below world_size ({count}), got {place}")
    if not dist.is_available():
        raise InvalidValueError("this build of PyTorch has no torch.distributed: install another")
    if dist.is_initialized():
        raise PhaseError(
            f"there is a process group already ({dist.get_backend()}, {dist.get_world_size()} "
            "ranks): call torch.distributed.destroy_process_group() first, or leave its block"
        )
    # Importing it registers the backend "fake".
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", store=FakeStore(), rank=place, world_size=count)
    try:
        with Collectives(), ranks_agree():
            yield
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
