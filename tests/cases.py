"""The configurations over which the numbers must be right."""

import numpy as np

import memprop as mp
from memprop.graph.activations import ACTIVATIONS as REGISTERED_ACTIVATIONS
from memprop.graph.losses import LOSSES as REGISTERED_LOSSES
from memprop.models.sequential import DTYPES as DTYPES

ACTIVATIONS = tuple(REGISTERED_ACTIVATIONS)
LOSSES = tuple(REGISTERED_LOSSES)

BLOCKS = {
    "norm": {"norm": "layer"},
    "residual": {"residual": True},
    "dropout": {"dropout": 0.3},
    "kept mask": {"dropout": 0.3, "dropout_mask": "store"},
    "norm, residual": {"norm": "layer", "residual": True},
    "norm, dropout": {"norm": "layer", "dropout": 0.3},
    "residual, dropout": {"residual": True, "dropout": 0.3},
    "all": {"norm": "layer", "residual": True, "dropout": 0.3},
    "all, kept mask": {
        "norm": "layer",
        "residual": True,
        "dropout": 0.3,
        "dropout_mask": "store",
    },
}
"""What a hidden layer may have beside its activation."""

OPTIMIZERS = {
    "sgd": mp.SGD(0.05),
    "momentum": mp.Momentum(0.05, momentum=0.8),
    "adam": mp.Adam(0.01),
    "adamw": mp.AdamW(0.01, weight_decay=0.1),
}
"""Every optimizer, with constants of which a mix-up shows."""


def model(depth=2, width=7, inputs=5, outputs=4, **options):
    return mp.MLP([inputs, *[width] * depth, outputs], **options)


def data(mlp, batch=6, seed=0):
    """Random samples, and labels or targets, that ``mlp`` can be trained on."""
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((batch, mlp.widths[0])).astype(mlp.dtype)
    if mlp.loss == "cross_entropy":
        return x, generator.integers(0, mlp.widths[-1], batch)
    return x, generator.standard_normal((batch, mlp.widths[-1])).astype(mlp.dtype)


def with_random_biases(mlp, seed=1):
    """Biases (and gains and shifts) that are not what they begin with, so that a mistake shows."""
    generator = np.random.default_rng(seed)
    for array in mlp.parameters.values():
        if array.ndim == 1:
            array += generator.standard_normal(array.shape).astype(array.dtype) * 0.3
    return mlp
