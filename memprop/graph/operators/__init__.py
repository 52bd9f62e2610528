"""The operators, a file for each, with its layer: its rules, its kernels, its registration.

Importing the package registers them all. A new operator is a file here and its name in this list,
whose order is that in which names are shown.
"""

from importlib import import_module

for _name in (
    "linear",
    "convolution",
    "embedding",
    "attention",
    "relu",
    "tanh",
    "sigmoid",
    "gelu",
    "silu",
    "softplus",
    "identity",
    "norm",
    "dropout",
    "addition",
    "flatten",
    "pooling",
    "cross_entropy",
    "mse",
    "objective",
    "mean_loss",
    "sgd",
    "momentum",
    "adam",
    "count",
):
    import_module(f"{__name__}.{_name}")
