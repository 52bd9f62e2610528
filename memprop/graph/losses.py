"""Losses L = l(o, y): what the output o is compared with, and by which operator."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Final

import numpy as np

from memprop.errors import RegistrationError
from memprop.graph.affine import BATCH, Shape
from memprop.graph.nodes import Variable
from memprop.graph.rules import ArraySpec, Call, constant
from memprop.registry import Registry


@dataclass(frozen=True)
class Loss:
    """A loss; a subclass names its operator and is registered with it.

    Attributes:
        rule: the operator, which reads ``o`` and ``y`` and writes ``L``; also the name that
            ``loss=...`` takes.
        labels: whether ``y`` holds an integer label for each sample, and not a target for each
            output.
    """

    rule: ClassVar[str]
    labels: ClassVar[bool] = False
    registry: ClassVar["Registry[type[Loss]]"]

    @classmethod
    def targets(cls, o: Variable) -> ArraySpec:
        """Shape and dtype of ``y`` for the output ``o``."""
        shape: Shape = (BATCH,) if cls.labels else o.shape
        return ArraySpec(shape, "int64" if cls.labels else o.dtype)


def _check(entry: type[Loss]) -> None:
    if not (isinstance(entry, type) and issubclass(entry, Loss)):
        raise RegistrationError(f"a loss is registered as a class, got {entry!r}")


LOSSES: Final[Registry[type[Loss]]] = Registry("loss", lambda entry: entry.rule, _check)
"""Every loss by the name of its operator."""

Loss.registry = LOSSES


# What kernels of losses share


def scalar(o: ArraySpec) -> ArraySpec:
    """Shape and dtype of L."""
    return ArraySpec((), o.dtype)


def scale_by(rows: np.ndarray, dL: np.ndarray, factor: float) -> Iterator[Call]:
    """Multiply by the gradient of the loss and by a number, in one pass over ``rows``."""
    scale = np.empty_like(dL)
    yield partial(np.multiply, dL, constant(factor, dL), scale)
    yield partial(np.multiply, rows, scale, rows)
