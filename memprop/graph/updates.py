"""The operators that optimizers are made of.

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
from memprop.graph.vectors import add_scaled, scale

Array = np.ndarray


def _sgd(_W: Array, dW: Array, W_next: Array, *, learning_rate: float) -> Iterator[Call]:
    yield from add_scaled(-learning_rate, dW, W_next)


def _momentum(
    _W: Array,
    dW: Array,
    _v: Array,
    W_next: Array,
    v_next: Array,
    *,
    learning_rate: float,
    momentum: float,
) -> Iterator[Call]:
    yield from scale(momentum, v_next)
    yield partial(np.add, v_next, dW, v_next)
    yield from add_scaled(-learning_rate, v_next, W_next)


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
    rate, floor = constant(0, W), constant(0, W)
    yield partial(_correct_bias, t, learning_rate, beta1, beta2, epsilon, rate, floor)
    for part, weights, gradient, mean, square in blocks(block, W_next, dW, m_next, v_next):
        if weight_decay:
            yield from scale(1 - learning_rate * weight_decay, weights)
        yield from scale(beta1, mean)
        yield from add_scaled(1 - beta1, gradient, mean)
        yield partial(np.multiply, gradient, gradient, part)
        yield from scale(beta2, square)
        yield from add_scaled(1 - beta2, part, square)
        yield partial(np.sqrt, square, part)
        yield partial(np.add, part, floor, part)
        yield partial(np.divide, mean, part, part)
        yield from add_scaled(rate, part, weights)


def _correct_bias(
    t: Array,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    rate: Array,
    floor: Array,
) -> None:
    """What makes learning_rate m^ / (sqrt v^ + epsilon) = -rate m / (sqrt v + floor) in this step.

    m^ = m / (1 - beta1^n) and v^ = v / (1 - beta2^n) are the corrected moments in step n; so
    Kingma & Ba have it at the end of their section 2.
    """
    step = int(t) + 1  # t counts those before this one
    deviation = math.sqrt(1 - beta2**step)
    rate[...] = -learning_rate * deviation / (1 - beta1**step)
    floor[...] = epsilon * deviation


def _count(t: Array, t_next: Array) -> Iterator[Call]:
    yield partial(np.add, t_next, constant(1, t_next), t_next)


def _update_rule(
    optimizer: type[Optimizer], kernel, flops: int, scratch: tuple[str, ...] = ()
) -> Rule:
    names = ("W", *optimizer.state)
    count = ("t",) if optimizer.counts_steps else ()

    def infer(W: ArraySpec, *_: ArraySpec, **__: float) -> tuple[ArraySpec, ...]:
        return (W,) * len(names)

    return Rule(
        name=optimizer.rule,
        reads=("W", "dW", *optimizer.state, *count),
        writes=tuple(f"{name}'" for name in names),
        scratch=scratch,
        infer=infer,
        infer_scratch=lambda W, *_, **__: (block_of(W),) * len(scratch),
        kernel=kernel,
        flops=flops_per_element(flops),
        updates=tuple((f"{name}'", name) for name in names),
    )


register(
    _update_rule(SGD, _sgd, 2),
    _update_rule(Momentum, _momentum, 4),
    _update_rule(Adam, _adam, 12, ("block",)),
    _update_rule(AdamW, _adam, 13, ("block",)),
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
