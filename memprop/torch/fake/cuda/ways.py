"""What runs otherwise on CUDA than on a CPU, put into PyTorch's dispatcher while a step runs.

A step is simulated on fake tensors of the CPU, so that it needs no CUDA. Operators that PyTorch
makes of others, and autocast, take other ways on CUDA: these are registered for the CPU.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from unittest.mock import patch

import torch

from memprop.cuda.gpus import GPU
from memprop.torch.fake.cuda.attention import attention_on
from memprop.torch.fake.cuda.autocast import autocast_of_cuda
from memprop.torch.fake.cuda.composites import dropout, linear
from memprop.torch.fake.cuda.devices import Devices, host_of
from memprop.torch.fake.cuda.norms import batch_norm, rms_norm
from memprop.torch.fake.cuda.recurrent import recurrent_layers
from memprop.torch.fake.cuda.scratch.calls import scratch_of
from memprop.torch.record.scratch import Pretence


@contextmanager
def on_cuda(gpu: GPU, devices: Devices) -> Iterator[Pretence]:
    """Let the step believe that the CPU is a GPU, inside the block."""
    capability = patch.object(torch.cuda, "get_device_capability", lambda *_: gpu.capability)
    with ways_of_cuda(gpu), devices.pretended(), capability:
        yield Pretence(
            device="cuda:0", gpu=gpu.name, scratch=partial(scratch_of, gpu), host_of=host_of
        )


@contextmanager
def ways_of_cuda(gpu: GPU) -> Iterator[None]:
    """Let operators on the CPU take the ways of a GPU, inside the block."""
    library = torch.library.Library("aten", "IMPL")
    ways = {
        "scaled_dot_product_attention": attention_on(gpu),
        "batch_norm": batch_norm,
        "rms_norm": rms_norm,
        "dropout": dropout,
        "linear": linear,
    }
    try:
        with warnings.catch_warnings():
            # PyTorch warns once where a kernel of autocast is replaced; it is put back.
            warnings.simplefilter("ignore")
            for name, way in (*ways.items(), *recurrent_layers()):
                library.impl(name, way, "AutogradCPU")
            for name, way in autocast_of_cuda():
                library.impl(name, way, "AutocastCPU", allow_override=True)
        yield
    finally:
        library._destroy()
