"""Gradient descent with momentum (Polyak 1964), as PyTorch writes it."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from memprop.checks import Positive, Probability, option
from memprop.graph.optimizers import Optimizer, update_rule
from memprop.graph.rules import Call
from memprop.graph.vectors import add_scaled, scale
from memprop.registry import register

Array = np.ndarray


@dataclass(frozen=True)
class Momentum(Optimizer):
    """v' = momentum * v + dW, W' = W - learning_rate * v' (Polyak 1964, as PyTorch writes it)."""

    learning_rate: float = option(0.01, check=Positive())
    momentum: float = option(0.9, check=Probability())
    rule = "momentum"
    state = ("v",)


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


register(update_rule(Momentum, _momentum, flops=4), Momentum)
