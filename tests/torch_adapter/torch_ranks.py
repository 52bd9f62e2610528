"""Sharded modules, and what real ranks measure of their steps: gloo processes on loopback."""

import contextlib
import json
import os
import socket
import sys
from functools import partial
from itertools import accumulate

import asks_for_torch  # noqa: F401
import torch
import torch_oracles as oracles
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    RowwiseParallel,
    parallelize_module,
)
from torch.nn.parallel import DistributedDataParallel

import memprop.torch as mpt

BLOCKS, WIDTH, BATCH = 3, 64, 16


def mlp(device="cpu"):
    """Blocks of two layers, and a head whose rows no number of ranks but 2 and 5 divides."""
    torch.manual_seed(0)
    with torch.device(device):
        blocks = [
            nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.ReLU(), nn.Linear(2 * WIDTH, WIDTH))
            for _ in range(BLOCKS)
        ]
        return nn.Sequential(*blocks, nn.Linear(WIDTH, 10))


def samples():
    return torch.randn(BATCH, WIDTH)


def ddp(module, **options):
    return DistributedDataParallel(module, **options)


def fsdp(module, reshard_after_forward=True, mesh=None, **options):
    mesh = mesh or init_device_mesh("cpu", (distributed.get_world_size(),))
    for block in module[:BLOCKS]:
        fully_shard(block, mesh=mesh, reshard_after_forward=reshard_after_forward, **options)
    return fully_shard(module, mesh=mesh, **options)


def two_by(name):
    shape = (2, distributed.get_world_size() // 2)
    return init_device_mesh("cpu", shape, mesh_dim_names=("outer", name))


def fsdp_of_replicas(module):
    return fsdp(module, mesh=two_by("inner"))


def fsdp_of_tensor_parallel(module):
    mesh = two_by("inner")
    return fsdp(tensor_parallel(module, mesh["inner"]), mesh=mesh["outer"])


def tensor_parallel(module, mesh=None):
    mesh = mesh or init_device_mesh("cpu", (distributed.get_world_size(),))
    plan = {}
    for number in range(BLOCKS):
        plan |= {f"{number}.0": ColwiseParallel(), f"{number}.2": RowwiseParallel()}
    return parallelize_module(module, mesh, plan)


MIXED = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
CASES = {
    "ddp": ddp,
    "ddp of small buckets": partial(ddp, bucket_cap_mb=0.05),
    "ddp of a static graph": partial(ddp, static_graph=True),
    "ddp of unused": partial(ddp, find_unused_parameters=True),
    "ddp in buckets": partial(ddp, gradient_as_bucket_view=True),
    "fsdp": fsdp,
    "fsdp mixed": partial(fsdp, mp_policy=MIXED),
    "fsdp kept": partial(fsdp, reshard_after_forward=False),
    "fsdp to 2": partial(fsdp, reshard_after_forward=2),
    "fsdp offloaded": partial(fsdp, offload_policy=CPUOffloadPolicy(pin_memory=False)),
    "fsdp of replicas": fsdp_of_replicas,
    "fsdp of tensor parallel": fsdp_of_tensor_parallel,
    "tensor parallel": tensor_parallel,
}
RUN = {
    2: ("ddp", "ddp in buckets", "fsdp", "fsdp mixed", "fsdp kept", "tensor parallel"),
    4: (
        *("ddp", "fsdp", "fsdp mixed", "fsdp to 2", "fsdp of replicas"),
        *("fsdp of tensor parallel", "tensor parallel"),
    ),
}
"""Which cases real ranks run, for each number of ranks."""
WARM = ("ddp in buckets", "fsdp", "tensor parallel")
"""Cases of which two ranks run a second step too, with an optimizer."""
ALLOCATED = 2
"""With how many ranks the allocator is watched, too: that takes its time."""


def build(case, device="cpu"):
    return CASES[case](mlp(device))


def facts(trace):
    """What has to be the same for all who tell of one step."""
    return {"peak": trace.peak, "operator": trace.peak_operator, **trace.peak_by_category()}


def given_bytes(module, inputs):
    """Bytes of what is there before a step: shards and inputs, each storage once."""
    held = [p._local_tensor if isinstance(p, DTensor) else p for p in module.parameters()]
    storages = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in (*held, inputs)}
    return sum(storages.values())


def allocated(case):
    """The peak of the CPU allocator in the first step of a case, with what was there before."""
    module, inputs = build(case), samples()
    return given_bytes(module, inputs) + max(accumulate(oracles.allocations(module, inputs)))


def least_allocated(case, ledger):
    """The least peak of several steps: a thread of gloo may hold a buffer for longer than a step.

    The ranks go on until all of them have met the peak of their ledger, or ten times.
    """
    least, met = allocated(case), [None] * distributed.get_world_size()
    for _ in range(9):
        distributed.all_gather_object(met, least <= ledger)
        if all(met):
            break
        least = min(least, allocated(case))
    return least


def measured(case, ranks):
    """What one rank measures of one case: the ledger, and the CPU allocator.

    A rank measures what no other can see, but all have to take the same steps.
    """
    found = {"ledger": facts(mpt.trace(build(case), samples()))}
    if ranks == ALLOCATED:
        found["allocator"] = least_allocated(case, found["ledger"]["peak"])
    if ranks == ALLOCATED and case in WARM:
        warm = mpt.trace(build(case), samples(), optimizer=torch.optim.AdamW, warmup=1)
        found["warm"] = facts(warm)
    return found


def _rank(rank, ranks, port):
    torch.set_num_threads(1)
    address = f"tcp://127.0.0.1:{port}"
    distributed.init_process_group("gloo", address, rank=rank, world_size=ranks)
    with contextlib.redirect_stdout(sys.stderr):
        found = {case: measured(case, ranks) for case in RUN[ranks]}
    gathered = [None] * ranks
    distributed.all_gather_object(gathered, found)
    if rank == 0:
        print(json.dumps(gathered), flush=True)  # noqa: T201 - what the test reads
    distributed.destroy_process_group()


def main(ranks):
    """Print, as JSON, what each rank measures of each case."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Forks share what importing PyTorch took seconds for.
    children = []
    for rank in range(ranks):
        child = os.fork()
        if child == 0:
            _rank(rank, ranks, port)
            os._exit(0)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    sys.exit(max(map(abs, codes)))


if __name__ == "__main__":
    main(int(sys.argv[1]))
