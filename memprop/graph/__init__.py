"""What is computed: graphs of variables and operators, as pure data.

Importing the package fills the table of rules; the family files say what each operator does.
"""

from memprop.graph import (
    activation,
    addition,
    dropout,
    linear,
    loss,
    norm,
    objective,
    slices,
    updates,
)

__all__ = [
    "activation",
    "addition",
    "dropout",
    "linear",
    "loss",
    "norm",
    "objective",
    "slices",
    "updates",
]
