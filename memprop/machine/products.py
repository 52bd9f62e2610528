"""How fast NumPy multiplies matrices in a fresh process: a round for each line on stdin.

Run as a file: as a module it would load all of memprop first. It writes a line of JSON when it is
ready, with the core type that the library uses and a digest of the products, and one for each
round, with the seconds of CPU time of each product by dtype.
"""

import hashlib
import json
import sys
import time
from typing import Any, Final

import numpy as np

WIDTH: Final = 512
DTYPES: Final = ("float32", "float64")
FORMS: Final = 3
"""Products of a layer in one step: x W^T, d^T x and d W."""

FLOPS: Final = 2 * WIDTH**3
"""Of one product."""

_LARGEST: Final = 8
"""Elements are integers from 1 to 8, so a sum of 512 products is an integer below 2^24: exact in
float32 too, whatever the order of summation. All kernels must give the same bits."""

_Product = tuple[np.ndarray, np.ndarray, np.ndarray]


def main() -> None:
    """Answer lines until there are no more."""
    work = {dtype: _products(dtype) for dtype in DTYPES}
    _round(work)  # BLAS makes its buffers
    _say(core_type=_core_type(), digest=_digest(work))
    for _ in sys.stdin:
        _say(**_round(work))


def _products(dtype: str) -> list[_Product]:
    """The operands of the forms, and room for the result."""
    random = np.random.default_rng(0)
    x, d, W = (
        random.integers(1, _LARGEST, (WIDTH, WIDTH), endpoint=True).astype(dtype) for _ in "xdW"
    )
    return [(a, b, np.empty_like(x)) for a, b in ((x, W.T), (d.T, x), (d, W))]


def _round(work: dict[str, list[_Product]]) -> dict[str, list[float]]:
    return {dtype: [_seconds(*product) for product in work[dtype]] for dtype in work}


def _seconds(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> float:
    begin = time.process_time()  # with one thread: what other processes take does not count
    np.matmul(a, b, out=out)
    return time.process_time() - begin


def _core_type() -> str:
    from threadpoolctl import threadpool_info

    return next((found.get("architecture") or "" for found in threadpool_info()), "")


def _digest(work: dict[str, list[_Product]]) -> str:
    digest = hashlib.sha256()
    for products in work.values():
        for _, _, out in products:
            digest.update(out.tobytes())
    return digest.hexdigest()


def _say(**values: Any) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
