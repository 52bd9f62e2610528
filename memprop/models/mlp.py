"""The multilayer perceptron: the layers that its arguments stand for."""

from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, Field, dataclass, fields
from itertools import groupby, pairwise
from typing import Any, Final

import numpy as np

from memprop.checks import Choice, Flag, Probability, check_fields, option
from memprop.errors import InvalidTypeError, InvalidValueError
from memprop.graph.activations import ACTIVATIONS
from memprop.graph.layers import Layer
from memprop.graph.operators.addition import Residual
from memprop.graph.operators.dropout import MASKS, Dropout
from memprop.graph.operators.linear import Linear
from memprop.graph.operators.norm import LayerNorm
from memprop.models.sequential import DTYPE, L2, LOSS, SEED, Sequential

NORMS: Final = ("none", "layer")


@dataclass(repr=False, eq=False)
class MLP(Sequential):
    """A multilayer perceptron: h_l = phi(W_l h_(l-1) + b_l), and a linear output layer.

    With norm, dropout and skip connections: h_l = dropout(phi(norm(W_l h_(l-1) + b_l))) + h_(l-1).
    It is a function from its arguments to the layers of a :class:`memprop.Sequential`. Each field
    below is also an option of the command line, an axis of a sweep and a column of its results.

    Args:
        widths: input, hidden..., output; at least two positive integers.
        activation: of the hidden layers: relu tanh sigmoid gelu silu softplus identity, or another
            that is registered.
        bias: whether each layer adds one.
        loss: "cross_entropy" (softmax, integer labels, mean over the batch) or "mse" (mean over
            samples and outputs).
        l2: lambda of the penalty s = lambda / 2 * sum of ||W||_F^2, which biases have no part in.
        dtype: "float32" or "float64".
        seed: of the initial weights, and of the units that dropout drops.
        dropout: the probability p with which a hidden unit is dropped in a training step; the
            others are scaled by 1 / (1 - p). Inference drops nothing.
        dropout_mask: how backward knows what was dropped: "regenerate" draws the mask again
            from a counter-based generator keyed by seed, step and layer; "store" keeps it, a byte
            a unit.
        norm: "layer" normalises each sample's z, with a gain gamma and a shift beta; ``None``
            does not.
        residual: a hidden layer adds its input to its output, where both are of one width.

    Raises:
        InvalidValueError, InvalidTypeError: an argument is wrong; the message says what to do.
    """

    widths: Sequence[int]
    _: KW_ONLY
    activation: str = option("relu", check=Choice(ACTIVATIONS), help="Of the hidden layers:")
    bias: bool = option(True, check=Flag(), help="Whether layers add a bias.")
    loss: str = option("cross_entropy", check=LOSS, help="Of the output:", inference=False)
    l2: float = option(
        0.0, check=L2, help="Strength of the penalty on the weights.", inference=False
    )
    dtype: str = option("float32", check=DTYPE, help="Of parameters and activations:")
    seed: int = option(0, check=SEED, help="Of the initial weights and the samples.")
    dropout: float = option(
        0.0,
        check=Probability(),
        help="Probability that a hidden unit is dropped.",
        inference=False,
    )
    dropout_mask: str = option(
        "regenerate",
        check=Choice(MASKS),
        help="Whether backward draws the mask of dropout again or forward keeps it:",
        inference=False,
    )
    norm: str | None = option(None, check=Choice(NORMS, none="none"), help="Of the hidden layers:")
    residual: bool = option(False, check=Flag(), help="Skip connections around hidden layers.")

    def __post_init__(self) -> None:
        self.widths = _check_widths(self.widths)
        check_fields(self)
        super().__init__(
            tuple(self._layers()),
            inputs=self.widths[:1],
            loss=self.loss,
            l2=self.l2,
            dtype=self.dtype,
            seed=self.seed,
        )

    def _layers(self) -> Iterator[Layer]:
        *hidden, outputs = self.widths[1:]
        for before, width in pairwise(self.widths[:-1]):
            layers = self._hidden(width)
            if self.residual and width == before:
                yield Residual(layers)
            else:
                yield from layers
        gain = None if hidden else ACTIVATIONS[self.activation].gain
        yield Linear(outputs, bias=self.bias, gain=gain)

    def _hidden(self, width: int) -> list[Layer]:
        layers: list[Layer] = [Linear(width, bias=self.bias)]
        if self.norm is not None:
            layers.append(LayerNorm())
        layers.append(ACTIVATIONS[self.activation]())
        if self.dropout > 0:
            layers.append(Dropout(self.dropout, mask=self.dropout_mask))
        return layers

    def __repr__(self) -> str:
        always = ("activation", "bias", "loss", "l2", "dtype", "seed")
        shown = [
            f"{field.name}={getattr(self, field.name)!r}"
            for field in options()
            if field.name in always or getattr(self, field.name) != field.default
        ]
        return f"MLP({_written(self.widths)}, {', '.join(shown)})"


def options() -> "tuple[Field[Any], ...]":
    """The arguments of :class:`MLP` other than its widths, as fields with their checks and help."""
    return tuple(field for field in fields(MLP) if "check" in field.metadata)


def _written(widths: Sequence[int]) -> str:
    """The widths as Python, equal ones that follow each other written as a product."""
    runs = ((width, len(list(run))) for width, run in groupby(widths))
    parts = (f"*[{w}] * {n}" if n > 3 else ", ".join([str(w)] * n) for w, n in runs)
    return f"[{', '.join(parts)}]"


def _check_widths(widths: Sequence[int]) -> tuple[int, ...]:
    try:
        given = tuple(widths)
    except TypeError:
        raise InvalidTypeError(
            f"widths must be a list such as [64, 256, 10], got {widths!r}"
        ) from None
    if len(given) < 2:
        raise InvalidValueError(f"widths needs an input and an output at least, got {list(given)}")
    for place, width in enumerate(given):
        if isinstance(width, bool) or not isinstance(width, int | np.integer):
            raise InvalidTypeError(f"widths[{place}] must be a positive integer, got {width!r}")
        if width < 1:
            raise InvalidValueError(f"widths[{place}] must be a positive integer, got {width!r}")
    return tuple(int(width) for width in given)
