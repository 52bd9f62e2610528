"""How fast GPUs are, GPU by GPU: one table, with its sources.

FLOP/s are dense, without the doubling that data sheets give for sparse matrices, and those of
tensor cores that add up in 32 bits, as PyTorch's products do.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from memprop.cuda.gpus import gpu_of

PRODUCTS_REACH: Final = 0.7
"""The share of a GPU's FLOP/s that products of usual shapes get to: a rule of thumb, not measured
here. Power and the shapes decide; what the best shapes get to is listed by S. Bekman, "Machine
Learning Engineering", Maximum Achievable Matmul FLOPS (https://github.com/stas00/ml-engineering)."""
BANDWIDTH_REACH: Final = 0.85
"""The share of a GPU's bandwidth that elementwise kernels get to, a rule of thumb too. Copies to
pinned memory of the host, and back, are taken to reach the same share of their link's."""
LAUNCH_SECONDS: Final = 5e-6
"""From the launch of a kernel to that of the next, where kernels are short: a rule of thumb for
PyTorch without graphs of CUDA."""


@dataclass(frozen=True, kw_only=True)
class Rates:
    """How fast a device is.

    Attributes:
        products: FLOP/s of products of matrices, convolutions and attention, by type; "tf32" for
            float32 on tensor cores.
        others: FLOP/s of all other operators.
        bandwidth: bytes that it reads and writes in a second.
        launch: seconds that any operator takes.
        host: bytes a second that are copied to pinned memory of the host, or from it, one way at a
            time; inf for the host itself.
    """

    products: Mapping[str, float]
    others: float
    bandwidth: float
    launch: float
    host: float = math.inf


def _gpu(
    bandwidth: float,
    *,
    pcie: int,
    f32: float,
    tf32: float | None = None,
    f16: float,
    bf16: float | None = None,
    f8: float | None = None,
    f64: float,
) -> Rates:
    """Rates from the GB/s, PCIe generation and TFLOP/s of a data sheet.

    Types that it lacks run as float32.
    """
    tera = {
        "float64": f64,
        "float32": f32,
        "tf32": tf32 or f32,
        "float16": f16,
        "bfloat16": bf16 or f32,
        "float8_e4m3fn": f8 or f16,
        "float8_e5m2": f8 or f16,
    }
    return Rates(
        products={name: rate * 1e12 * PRODUCTS_REACH for name, rate in tera.items()},
        others=f32 * 1e12 * PRODUCTS_REACH,
        bandwidth=bandwidth * 1e9 * BANDWIDTH_REACH,
        launch=LAUNCH_SECONDS,
        host=_PCIE[pcie] * 1e9 * BANDWIDTH_REACH,
    )


_PCIE: Final = {3: 15.75, 4: 31.5, 5: 63.0}
"""GB/s of 16 lanes in one direction, by generation: 8, 16 and 32 GT/s, of 130 bits 128 are data
("PCI Express Base Specification", PCI-SIG)."""


_RATES: Final = {
    # "NVIDIA H100 Tensor Core GPU" data sheet, SXM.
    "h100": _gpu(3350, pcie=5, f32=67, tf32=494.5, f16=989.5, bf16=989.5, f8=1979, f64=67),
    # "NVIDIA H200 Tensor Core GPU" data sheet, SXM.
    "h200": _gpu(4800, pcie=5, f32=67, tf32=494.5, f16=989.5, bf16=989.5, f8=1979, f64=67),
    # "NVIDIA HGX Platform", HGX B200, an eighth of its eight GPUs.
    "b200": _gpu(8000, pcie=5, f32=75, tf32=1125, f16=2250, bf16=2250, f8=4500, f64=37),
    # "NVIDIA A100 Tensor Core GPU" data sheet, SXM of 80 GB, and of 40 GB.
    "a100": _gpu(2039, pcie=4, f32=19.5, tf32=156, f16=312, bf16=312, f64=19.5),
    "a100-40gb": _gpu(1555, pcie=4, f32=19.5, tf32=156, f16=312, bf16=312, f64=19.5),
    # "NVIDIA A10 Tensor Core GPU" data sheet; float64 is a 64th of float32 (GA102 whitepaper).
    "a10": _gpu(600, pcie=4, f32=31.2, tf32=62.5, f16=125, bf16=125, f64=0.49),
    # "NVIDIA Ampere GA102 GPU Architecture" whitepaper, table 2.
    "rtx3090": _gpu(936, pcie=4, f32=35.6, tf32=35.6, f16=71, bf16=71, f64=0.56),
    # "NVIDIA L4 Tensor Core GPU" data sheet, half of its sparse figures.
    "l4": _gpu(300, pcie=4, f32=30.3, tf32=60, f16=121, bf16=121, f8=242.5, f64=0.47),
    # "NVIDIA L40S" data sheet.
    "l40s": _gpu(864, pcie=4, f32=91.6, tf32=183, f16=362, bf16=362, f8=733, f64=1.4),
    # "NVIDIA Ada GPU Architecture" whitepaper, appendix A.
    "rtx4090": _gpu(1008, pcie=4, f32=82.6, tf32=82.6, f16=165.2, bf16=165.2, f8=330.3, f64=1.3),
    # "NVIDIA RTX Blackwell GPU Architecture" whitepaper, appendix A.
    "rtx5090": _gpu(1792, pcie=5, f32=104.8, tf32=104.8, f16=209.5, bf16=209.5, f8=419, f64=1.6),
    # "NVIDIA V100 Tensor Core GPU" data sheet, SXM2; it has no bfloat16.
    "v100": _gpu(900, pcie=3, f32=15.7, f16=125, f64=7.8),
    # "NVIDIA T4" data sheet; float64 is a 32nd of float32 (Turing whitepaper).
    "t4": _gpu(320, pcie=3, f32=8.1, f16=65, f64=0.25),
}


def rates_of(name: str) -> Rates:
    """What steps get of a GPU, as "h100".

    Raises:
        UnknownNameError: it is not in the table of GPUs.
    """
    return _RATES[gpu_of(name).name]
