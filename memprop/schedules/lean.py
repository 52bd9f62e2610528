"""``lean``: only what backward reads is kept, in the form that needs least."""

from typing import Final

from memprop.graph.graph import Graph
from memprop.graph.optimizers import Optimizer
from memprop.schedules.recompute import as_built, in_that_order
from memprop.schedules.schedule import Schedule
from memprop.schedules.strategies import Strategy


def lean(forward: Graph, optimizer: Optimizer | None = None) -> Schedule:
    """Keep only what backward reads, in the form that needs least.

    Derivatives of relu, tanh and sigmoid come from their output; a result is written over an
    operand that dies; everything is freed at its last use. Nothing is computed twice.
    """
    return in_that_order("lean", as_built, forward, optimizer)


LEAN: Final = Strategy(name="lean", order=as_built)
