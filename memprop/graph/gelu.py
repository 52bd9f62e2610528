"""The exact gelu h = z Phi(z), with Phi the normal distribution (Hendrycks & Gimpel 2016).

In a file of its own because NumPy has no erf: SciPy is loaded only by those who use it.
"""

import math

import numpy as np
from scipy.special import erf

from memprop.graph.rules import (
    Gradient,
    Rule,
    flops_per_element,
    like,
    register,
)


def _normal_distribution(z: np.ndarray, out: np.ndarray) -> None:
    """Phi(z) = (1 + erf(z / sqrt 2)) / 2."""
    np.multiply(z, math.sqrt(0.5), out=out)
    erf(out, out=out)
    np.add(out, 1, out=out)
    np.multiply(out, 0.5, out=out)


def _gelu(z: np.ndarray, h: np.ndarray) -> None:
    _normal_distribution(z, h)
    np.multiply(h, z, out=h)


def _gelu_backward(dh: np.ndarray, z: np.ndarray, dz: np.ndarray, density: np.ndarray) -> None:
    """Gelu'(z) = Phi(z) + z exp(-z^2 / 2) / sqrt(2 pi)."""
    # dz may lie over z, so all else that reads z comes first.
    np.multiply(z, z, out=density)
    np.multiply(density, -0.5, out=density)
    np.exp(density, out=density)
    np.multiply(density, z, out=density)
    np.multiply(density, 1 / math.sqrt(2 * math.pi), out=density)
    _normal_distribution(z, dz)
    np.add(dz, density, out=dz)
    np.multiply(dz, dh, out=dz)


register(
    Rule(
        name="gelu",
        reads=("z",),
        writes=("h",),
        infer=like(),
        kernel=_gelu,
        flops=flops_per_element(5),
        gradients=(Gradient(of="z", rule="gelu_backward", reads=("dh", "z")),),
    ),
    Rule(
        name="gelu_backward",
        reads=("dh", "z"),
        writes=("dz",),
        scratch=("density",),
        infer=like(),
        infer_scratch=lambda dh, _: (dh,),
        kernel=_gelu_backward,
        flops=flops_per_element(11),
        in_place=(("dz", "z"),),
    ),
)
