"""Stochastic gradient descent."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from memprop.checks import Positive, option
from memprop.graph.optimizers import Optimizer, update_rule
from memprop.graph.rules import Call
from memprop.graph.vectors import add_scaled
from memprop.registry import register

Array = np.ndarray


@dataclass(frozen=True)
class SGD(Optimizer):
    """W' = W - learning_rate * dW."""

    learning_rate: float = option(0.01, check=Positive())
    rule = "sgd"


def _sgd(_W: Array, dW: Array, W_next: Array, *, learning_rate: float) -> Iterator[Call]:
    yield from add_scaled(-learning_rate, dW, W_next)


register(update_rule(SGD, _sgd, flops=2), SGD)
