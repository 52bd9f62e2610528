"""The mean of the losses of micro-batches: that of the whole batch, as all are equally large."""

from collections.abc import Iterator
from functools import partial

import numpy as np

from memprop.graph.affine import Affine
from memprop.graph.rules import Call, Gradient, Rule, constant
from memprop.registry import register


def _mean(*arrays: np.ndarray, micro_batches: int) -> Iterator[Call]:
    *losses, mean = arrays
    yield partial(mean.fill, 0)
    for loss in losses:
        yield partial(np.add, mean, loss, mean)
    yield partial(np.divide, mean, constant(micro_batches, mean), mean)


def _mean_backward(dmean: np.ndarray, dL: np.ndarray, *, micro_batches: int) -> Iterator[Call]:
    yield partial(np.divide, dmean, constant(micro_batches, dL), dL)


_THREE = ({"micro_batches": 3},)

register(
    Rule(
        name="mean_loss",
        reads=("*L",),
        writes=("mean",),
        infer=lambda L, *_, **__: (L,),
        kernel=_mean,
        flops=lambda *losses, **_: Affine(len(losses), 0),
        gradients=(Gradient(of="L", rule="mean_loss_backward", reads=("dmean",)),),
        example="scalar scalar scalar",
        constants=_THREE,
    ),
    Rule(
        name="mean_loss_backward",
        reads=("dmean",),
        writes=("dL",),
        infer=lambda dmean, **_: (dmean,),
        kernel=_mean_backward,
        flops=lambda *_, **__: Affine(1, 0),
        example="scalar",
        constants=_THREE,
    ),
)
