"""The operators that optimizers are made of: kernels that pass over a parameter in blocks.

Each writes W', and the state that it has, over W and its state. Constants are those of the
optimizer, by name.
"""

import math
from collections.abc import Iterator
from functools import partial

import numpy as np

from memprop.graph.blocks import block_of, blocks
from memprop.graph.optimizers import SGD, Adam, AdamW, Momentum, Optimizer
from memprop.graph.rules import (
    ArraySpec,
    Call,
    Rule,
    constant,
    flops_per_element,
    no_flops,
    register,
)

Array = np.ndarray


def _sgd(
    W: Array, dW: Array, W_next: Array, block: Array, *, learning_rate: float
) -> Iterator[Call]:
    rate = constant(learning_rate, W)
    for scaled, weights, gradient in blocks(block, W_next, dW):
        yield partial(np.multiply, gradient, rate, scaled)
        yield partial(np.subtract, weights, scaled, weights)


def _momentum(
    W: Array,
    dW: Array,
    v: Array,
    W_next: Array,
    v_next: Array,
    block: Array,
    *,
    learning_rate: float,
    momentum: float,
) -> Iterator[Call]:
    rate, kept = constant(learning_rate, W), constant(momentum, W)
    for scaled, weights, gradient, velocity in blocks(block, W_next, dW, v_next):
        yield partial(np.multiply, velocity, kept, velocity)
        yield partial(np.add, velocity, gradient, velocity)
        yield partial(np.multiply, velocity, rate, scaled)
        yield partial(np.subtract, weights, scaled, weights)


def _adam(
    W: Array,
    dW: Array,
    m: Array,
    v: Array,
    t: Array,
    W_next: Array,
    m_next: Array,
    v_next: Array,
    block: Array,
    *,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    weight_decay: float = 0.0,
) -> Iterator[Call]:
    scale, floor = np.empty((2, 1), dtype=W.dtype)
    yield partial(_correct_bias, t, learning_rate, beta1, beta2, epsilon, scale, floor)
    shrink = constant(1 - learning_rate * weight_decay, W)
    fresh, kept_square, fresh_square = (constant(c, W) for c in (1 - beta1, beta2, 1 - beta2))
    for part, weights, gradient, mean, square in blocks(block, W_next, dW, m_next, v_next):
        if weight_decay:
            yield partial(np.multiply, weights, shrink, weights)
        yield partial(np.subtract, gradient, mean, part)
        yield partial(np.multiply, part, fresh, part)
        yield partial(np.add, mean, part, mean)
        yield partial(np.multiply, gradient, gradient, part)
        yield partial(np.multiply, part, fresh_square, part)
        yield partial(np.multiply, square, kept_square, square)
        yield partial(np.add, square, part, square)
        yield partial(np.sqrt, square, part)
        yield partial(np.multiply, part, scale, part)
        yield partial(np.add, part, floor, part)
        yield partial(np.divide, mean, part, part)
        yield partial(np.subtract, weights, part, weights)


def _correct_bias(
    t: Array,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    scale: Array,
    floor: Array,
) -> None:
    """What makes rate m^ / (sqrt v^ + epsilon) = m / (scale sqrt v + floor) in this step.

    m^ = m / (1 - beta1^n) and v^ = v / (1 - beta2^n) are the corrected moments in step n.
    """
    step = int(t) + 1  # t counts those before this one
    rate = learning_rate / (1 - beta1**step)
    floor[0] = epsilon / rate
    scale[0] = 1 / (rate * math.sqrt(1 - beta2**step))


def _count(t: Array, t_next: Array) -> Iterator[Call]:
    yield partial(np.add, t_next, constant(1, t_next), t_next)


def _update_rule(optimizer: type[Optimizer], kernel, flops: int) -> Rule:
    names = ("W", *optimizer.state)
    count = ("t",) if optimizer.counts_steps else ()

    def infer(W: ArraySpec, *_: ArraySpec, **__: float) -> tuple[ArraySpec, ...]:
        return (W,) * len(names)

    return Rule(
        name=optimizer.rule,
        reads=("W", "dW", *optimizer.state, *count),
        writes=tuple(f"{name}'" for name in names),
        scratch=("block",),
        infer=infer,
        infer_scratch=lambda W, *_, **__: (block_of(W),),
        kernel=kernel,
        flops=flops_per_element(flops),
        updates=tuple((f"{name}'", name) for name in names),
    )


register(
    _update_rule(SGD, _sgd, 2),
    _update_rule(Momentum, _momentum, 4),
    _update_rule(Adam, _adam, 12),
    _update_rule(AdamW, _adam, 13),
    Rule(
        name="count",
        reads=("t",),
        writes=("t'",),
        infer=lambda t: (t,),
        kernel=_count,
        flops=no_flops,
        updates=(("t'", "t"),),
    ),
)
