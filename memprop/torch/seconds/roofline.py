"""How long calls take by the rates of a device.

The roofline of Williams, Waterman and Patterson (Communications of the ACM, 2009): an operator
takes as long as its operations or as the bytes that it moves, whichever is longer.
"""

from collections.abc import Callable

import torch

from memprop.cuda.rates import Rates
from memprop.torch.seconds.calls import AskedCall, CallKind, TensorKind

_SIDE = 1024
_BYTES = 2**25
_LAUNCH, _PRODUCT, _COPY = 5e-6, 0.02, 0.005
"""Seconds of what is measured, where it does not run: those of two cores or so."""


def by_roofline(call: AskedCall, rates: Rates) -> float:
    """Seconds of a call on a device with these rates."""
    rate = _product_rate(call, rates) if call.is_product else rates.others
    return rates.launch + max(call.flops / rate, call.moved_bytes / rates.bandwidth)


def _product_rate(call: AskedCall, rates: Rates) -> float:
    name = str(call.dtype).removeprefix("torch.")
    if name == "float32" and _in_tf32(call):
        name = "tf32"
    return rates.products.get(name, rates.products["float32"])


def _in_tf32(call: AskedCall) -> bool:
    """Whether tensor cores may take a product of float32, which PyTorch has a switch for."""
    if "conv" in call.kind.operator.name():
        return bool(torch.backends.cudnn.allow_tf32)
    return bool(torch.backends.cuda.matmul.allow_tf32)


def rates_here(device: str, dtype: torch.dtype, timed: Callable[[CallKind], float | None]) -> Rates:
    """Rates of a device at hand: of one matrix product, one copy and one call that does nothing.

    Args:
        device: where.
        dtype: of the product.
        timed: gives the seconds of a call; ``None`` if it does not run.
    """
    products = (_product(one, device) for one in (dtype, torch.float32))
    many = TensorKind(torch.uint8, (_BYTES,), (1,), device)
    one = TensorKind(torch.float32, (1,), (1,), device)
    aten = torch.ops.aten
    launch = timed(CallKind(aten.neg.default, (one,), ())) or _LAUNCH
    product = next(filter(None, map(timed, products)), _PRODUCT)
    copy = timed(CallKind(aten.clone.default, (many,), ())) or _COPY
    rate = 2 * _SIDE**3 / product
    return Rates(
        products={"float32": rate, "tf32": rate},
        others=rate,
        bandwidth=2 * _BYTES / copy,
        launch=launch,
    )


def _product(dtype: torch.dtype, device: str) -> CallKind:
    square = TensorKind(dtype, (_SIDE, _SIDE), (_SIDE, 1), device)
    return CallKind(torch.ops.aten.mm.default, (square, square), ())
