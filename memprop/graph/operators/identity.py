"""The activation that changes nothing."""

from collections.abc import Iterator
from functools import partial

import numpy as np

from memprop.graph.activations import Activation
from memprop.graph.rules import Call, elementwise
from memprop.registry import register

Array = np.ndarray


def _identity(z: Array, h: Array) -> Iterator[Call]:
    if h is not z:  # written over its operand there is nothing to do
        yield partial(np.copyto, h, z)


class Identity(Activation):
    """h = z."""

    rule = "identity"


register(elementwise("identity", _identity, flops=0, backward=None), Identity)
