"""What is computed: graphs of variables and operators, as pure data.

Importing the package fills the table of rules; the family files say what each operator does.
"""

from memprop.graph import activation, linear, loss, objective, optimizers, slices

__all__ = ["activation", "linear", "loss", "objective", "optimizers", "slices"]
