"""The objective J = L + s, with the penalty s = lambda / 2 * sum of ||W||_F^2 over the weights."""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from memprop.graph.affine import Affine, elements
from memprop.graph.rules import (
    ArraySpec,
    Call,
    Gradient,
    Rule,
    constant,
    flops_per_element,
    no_flops,
)
from memprop.graph.vectors import add_scaled
from memprop.registry import register

Array = np.ndarray


def _penalty(*arrays: Array, strength: float) -> Iterator[Call]:
    *weights, s = arrays
    yield partial(_add_up_squares, weights, s, 0.5 * strength)


def _add_up_squares(weights: Sequence[Array], s: Array, factor: float) -> None:
    norms = sum(float(np.dot(W.reshape(-1), W.reshape(-1))) for W in weights)
    s[...] = factor * norms


def _penalty_flops(*weights: ArraySpec, **_: float) -> Affine:
    return Affine(sum(2 * elements(W.shape).constant for W in weights), 0)


def _penalty_backward(
    _dW: Array, ds: Array, W: Array, total: Array, *, strength: float
) -> Iterator[Call]:
    """dJ/dW = dL/dW + dJ/ds * lambda * W, where ``total`` lies over ``dW``."""
    factor = np.empty_like(ds)
    yield partial(np.multiply, ds, constant(strength, ds), factor)
    yield from add_scaled(factor, W, total)


def _objective(L: Array, s: Array, J: Array) -> Iterator[Call]:
    yield partial(np.add, L, s, J)


def _one(dJ: Array, **_: str) -> Iterator[Call]:
    yield partial(dJ.fill, 1)


_STRENGTH = ({"strength": 0.7},)

register(
    Rule(
        name="penalty",
        reads=("*W",),
        writes=("s",),
        infer=lambda W, *_, **__: (ArraySpec((), W.dtype),),
        kernel=_penalty,
        flops=_penalty_flops,
        gradients=(Gradient(of="W", rule="penalty_backward", reads=("ds", "W"), accumulates=True),),
        symbol="ℓ2",
        example="kd dk kd",
        constants=_STRENGTH,
    ),
    Rule(
        name="penalty_backward",
        reads=("dW", "ds", "W"),
        writes=("total",),
        infer=lambda dW, *_, **__: (dW,),
        kernel=_penalty_backward,
        flops=flops_per_element(2),
        updates=(("total", "dW"),),
        symbol="+",
        example="kd scalar kd",
        constants=_STRENGTH,
    ),
    Rule(
        name="objective",
        reads=("L", "s"),
        writes=("J",),
        symbol="+",
        example="scalar scalar",
        infer=lambda L, _: (L,),
        kernel=_objective,
        flops=flops_per_element(1),
        gradients=(
            Gradient(of="L", rule=None, reads=("dJ",)),
            Gradient(of="s", rule=None, reads=("dJ",)),
        ),
    ),
    Rule(
        name="one",
        reads=(),
        writes=("dJ",),
        infer=lambda *, dtype: (ArraySpec((), dtype),),
        kernel=_one,
        flops=no_flops,
        symbol="1",
        constants=({"dtype": "float32"}, {"dtype": "float64"}),
    ),
)
