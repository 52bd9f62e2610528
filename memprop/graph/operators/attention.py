"""Scaled dot-product attention softmax(Q K^T / sqrt d) V, with several heads (Vaswani et al. 2017).

Queries, keys and values are of shape (batch, positions, width); each of the heads takes its share
of the width. In the graph attention is three operators, so that what is cached can be seen, and
computed again: the scores S of shape (batch, heads, positions, positions), the probabilities P,
which are the softmax of its rows, and the mix P V. The softmax is differentiated from P, so S is
not kept.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from memprop.checks import Count, Flag, option
from memprop.errors import GraphError
from memprop.graph.affine import BATCH, Affine, elements
from memprop.graph.layers import Layer
from memprop.graph.operators.linear import parameters
from memprop.graph.rules import (
    ArraySpec,
    Call,
    Gradient,
    Rule,
    constant,
    flops_per_element,
    like,
    reduction,
)
from memprop.registry import register

if TYPE_CHECKING:
    from memprop.graph.build import NetworkBuilder
    from memprop.graph.nodes import Variable

Array = np.ndarray


@dataclass(frozen=True, repr=False)
class SelfAttention(Layer):
    """Every position attends to all: (batch, positions, width) to the same shape.

    Queries, keys and values are linear maps of the input, the output is one of what the heads give,
    as in ``torch.nn.MultiheadAttention``.

    Attributes:
        heads: how many; they divide the width.
        bias: whether the four linear maps add one.
    """

    heads: int = option(1, check=Count())
    bias: bool = option(True, check=Flag())

    begins_layer: ClassVar[bool] = True

    def apply(self, net: "NetworkBuilder", x: "Variable") -> "Variable":
        """Add the attention of x to itself to ``net``."""
        if len(x.shape) != 3 or int(x.shape[-1]) % self.heads:
            raise GraphError(
                f"attention with {self.heads} heads takes (batch, positions, width) with a width "
                f"that is a multiple of {self.heads}, got {x.shape}"
            )
        width = int(x.shape[-1])
        rule = "affine" if self.bias else "linear"

        def linear(letter: str, inputs: "Variable", result=net.apply) -> "Variable":
            weights = parameters(net, width, width, bias=self.bias, suffix=letter)
            return result(rule, [inputs, *weights], letter, label=f"linear_{letter}")

        q, k, v = (linear(letter, x) for letter in "qkv")
        scores = net.apply("attention_scores", [q, k], "S", label="scores", heads=self.heads)
        shares = net.apply("softmax", [scores], "P")
        mixed = net.apply("attention_mix", [shares, v], "c", label="mix", heads=self.heads)
        return linear("z", mixed, net.result)


# Shapes


def _scores_shape(q: ArraySpec, k: ArraySpec, *, heads: int) -> tuple[ArraySpec, ...]:
    if len(q.shape) != 3 or q.shape[0] != BATCH or q != k or int(q.shape[2]) % heads:
        raise GraphError(f"attention with {heads} heads cannot take queries {q} and keys {k}")
    positions = q.shape[1]
    return (ArraySpec((BATCH, heads, positions, positions), q.dtype),)


def _mix_shape(P: ArraySpec, v: ArraySpec, *, heads: int) -> tuple[ArraySpec, ...]:
    if P.shape != (BATCH, heads, v.shape[1], v.shape[1]):
        raise GraphError(f"attention with {heads} heads cannot mix the values {v} by {P}")
    return (v,)


def _products(scores: ArraySpec, vectors: ArraySpec) -> Affine:
    """Two FLOPs for each score and each number of a head's share of the width."""
    heads = int(scores.shape[1])
    return elements(scores.shape).times(2 * int(vectors.shape[2]) // heads)


# Kernels


def _by_head(vectors: Array, heads: int) -> Array:
    """(batch, positions, width) as a view (batch, heads, positions, width / heads)."""
    batch, positions, width = vectors.shape
    return vectors.reshape(batch, positions, heads, width // heads).transpose(0, 2, 1, 3)


def _scale(vectors: Array, heads: int) -> Array:
    """1 / sqrt(d), for the d numbers of a head's share of the width."""
    return constant((vectors.shape[2] // heads) ** -0.5, vectors)


def _scores(q: Array, k: Array, S: Array, *, heads: int) -> Iterator[Call]:
    yield partial(np.matmul, _by_head(q, heads), _by_head(k, heads).swapaxes(2, 3), S)
    yield partial(np.multiply, S, _scale(q, heads), S)


def _query_gradient(dS: Array, k: Array, dq: Array, *, heads: int) -> Iterator[Call]:
    yield partial(np.matmul, dS, _by_head(k, heads), _by_head(dq, heads))
    yield partial(np.multiply, dq, _scale(k, heads), dq)


def _key_gradient(dS: Array, q: Array, dk: Array, *, heads: int) -> Iterator[Call]:
    yield partial(np.matmul, dS.swapaxes(2, 3), _by_head(q, heads), _by_head(dk, heads))
    yield partial(np.multiply, dk, _scale(q, heads), dk)


def _softmax(S: Array, P: Array, row: Array) -> Iterator[Call]:
    """Softmax of each row, shifted by the row's maximum so that nothing overflows."""
    column = row[..., None]
    yield reduction(np.maximum, S, -1, row)
    yield partial(np.subtract, S, column, P)
    yield partial(np.exp, P, P)
    yield reduction(np.add, P, -1, row)
    yield partial(np.divide, P, column, P)


def _softmax_backward(
    dP: Array, P: Array, dS: Array, row: Array, products: Array
) -> Iterator[Call]:
    """dJ/dS = P (dJ/dP - the sum of P dJ/dP over the row)."""
    yield partial(np.multiply, dP, P, products)
    yield reduction(np.add, products, -1, row)
    yield partial(np.subtract, dP, row[..., None], dS)
    yield partial(np.multiply, dS, P, dS)


def _softmax_backward_from_input(
    dP: Array, S: Array, dS: Array, row: Array, products: Array, P: Array
) -> Iterator[Call]:
    yield from _softmax(S, P, row)
    yield from _softmax_backward(dP, P, dS, row, products)


def _mix(P: Array, v: Array, c: Array, *, heads: int) -> Iterator[Call]:
    yield partial(np.matmul, P, _by_head(v, heads), _by_head(c, heads))


def _share_gradient(dc: Array, v: Array, dP: Array, *, heads: int) -> Iterator[Call]:
    yield partial(np.matmul, _by_head(dc, heads), _by_head(v, heads).swapaxes(2, 3), dP)


def _value_gradient(dc: Array, P: Array, dv: Array, *, heads: int) -> Iterator[Call]:
    yield partial(np.matmul, P.swapaxes(2, 3), _by_head(dc, heads), _by_head(dv, heads))


def _rows(S: ArraySpec) -> ArraySpec:
    return ArraySpec(S.shape[:-1], S.dtype)


_CASES = ({"heads": 2},)
_VECTORS, _SCORES = "n,3,4", "n,2,3,3"

register(
    Rule(
        name="attention_scores",
        reads=("q", "k"),
        writes=("S",),
        infer=_scores_shape,
        kernel=_scores,
        flops=lambda q, k, *, heads: _products(_scores_shape(q, k, heads=heads)[0], q).plus(
            elements(_scores_shape(q, k, heads=heads)[0].shape)
        ),
        gradients=(
            Gradient(of="q", rule="attention_query_gradient", reads=("dS", "k")),
            Gradient(of="k", rule="attention_key_gradient", reads=("dS", "q")),
        ),
        symbol="×",
        example=f"{_VECTORS} {_VECTORS}",
        constants=_CASES,
    ),
    *(
        Rule(
            name=f"attention_{name}_gradient",
            reads=("dS", other),
            writes=(f"d{other}'",),
            infer=like(1),
            kernel=kernel,
            flops=lambda dS, vectors, **_: _products(dS, vectors).plus(elements(vectors.shape)),
            symbol="×",
            example=f"{_SCORES} {_VECTORS}",
            constants=_CASES,
        )
        for name, other, kernel in (("query", "k", _query_gradient), ("key", "q", _key_gradient))
    ),
    Rule(
        name="softmax",
        reads=("S",),
        writes=("P",),
        scratch=("row",),
        infer=like(),
        infer_scratch=lambda S: (_rows(S),),
        kernel=_softmax,
        flops=flops_per_element(5),
        in_place=(("P", "S"),),
        gradients=(Gradient(of="S", rule="softmax_backward_from_input", reads=("dP", "S")),),
        lean_gradients=(Gradient(of="S", rule="softmax_backward", reads=("dP", "P")),),
        symbol="softmax",
        example=_SCORES,
    ),
    Rule(
        name="softmax_backward",
        reads=("dP", "P"),
        writes=("dS",),
        scratch=("row", "products"),
        infer=like(),
        infer_scratch=lambda dP, _: (_rows(dP), dP),
        kernel=_softmax_backward,
        flops=flops_per_element(4),
        in_place=(("dS", "dP"),),
        symbol="softmax′",
        example=f"{_SCORES} {_SCORES}",
    ),
    Rule(
        name="softmax_backward_from_input",
        reads=("dP", "S"),
        writes=("dS",),
        scratch=("row", "products", "P"),
        infer=like(),
        infer_scratch=lambda dP, _: (_rows(dP), dP, dP),
        kernel=_softmax_backward_from_input,
        flops=flops_per_element(9),
        symbol="softmax′",
        example=f"{_SCORES} {_SCORES}",
    ),
    Rule(
        name="attention_mix",
        reads=("P", "v"),
        writes=("c",),
        infer=_mix_shape,
        kernel=_mix,
        flops=lambda P, v, **_: _products(P, v),
        gradients=(
            Gradient(of="P", rule="attention_share_gradient", reads=("dc", "v")),
            Gradient(of="v", rule="attention_value_gradient", reads=("dc", "P")),
        ),
        symbol="×",
        example=f"{_SCORES} {_VECTORS}",
        constants=_CASES,
    ),
    Rule(
        name="attention_share_gradient",
        reads=("dc", "v"),
        writes=("dP",),
        infer=_scores_shape,
        kernel=_share_gradient,
        flops=lambda dc, v, *, heads: _products(_scores_shape(dc, v, heads=heads)[0], v),
        symbol="×",
        example=f"{_VECTORS} {_VECTORS}",
        constants=_CASES,
    ),
    Rule(
        name="attention_value_gradient",
        reads=("dc", "P"),
        writes=("dv",),
        infer=like(),
        kernel=_value_gradient,
        flops=lambda dc, P, **_: _products(P, dc),
        symbol="×",
        example=f"{_VECTORS} {_SCORES}",
        constants=_CASES,
    ),
)
