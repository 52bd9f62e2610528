"""Adam (Kingma & Ba 2015), and AdamW with decoupled weight decay (Loshchilov & Hutter 2019)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from memprop.checks import FromZero, Positive, Probability, option
from memprop.graph.blocks import blocks
from memprop.graph.optimizers import Optimizer, update_rule
from memprop.graph.rules import Call, constant
from memprop.graph.vectors import add_scaled, scale
from memprop.registry import register

Array = np.ndarray


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma & Ba 2015, algorithm 1): moments m and v with bias correction."""

    learning_rate: float = option(1e-3, check=Positive())
    beta1: float = option(0.9, check=Probability())
    beta2: float = option(0.999, check=Probability())
    epsilon: float = option(1e-8, check=Positive())
    rule = "adam"
    state = ("m", "v")
    counts_steps = True


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019).

    W is first shrunk by learning_rate * weight_decay.
    """

    weight_decay: float = option(0.01, check=FromZero())
    rule = "adamw"


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


register(
    update_rule(Adam, _adam, flops=12, scratch=("block",)),
    update_rule(AdamW, _adam, flops=13, scratch=("block",)),
    Adam,
    AdamW,
)
