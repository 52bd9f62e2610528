"""The multilayer perceptron that a user writes down."""

from collections.abc import Sequence
from functools import cached_property
from itertools import groupby
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike

from memprop.checks import check_integer_from_zero
from memprop.engine.prepare import Mode
from memprop.errors import InvalidTypeError, InvalidValueError, unknown_name
from memprop.graph.dropout import MASKS
from memprop.graph.graph import Graph
from memprop.graph.optimizers import Optimizer
from memprop.models import training
from memprop.models.build import Architecture, forward_graph
from memprop.schedules.schedule import Schedule
from memprop.terms import MODES

if TYPE_CHECKING:
    import pandas as pd

ACTIVATIONS: Final = ("relu", "tanh", "sigmoid", "gelu", "silu", "identity")
LOSSES: Final = ("cross_entropy", "mse")
DTYPES: Final = ("float32", "float64")
NORMS: Final = ("none", "layer")

_BLOCKS: Final = MappingProxyType(
    {"dropout": 0.0, "dropout_mask": "regenerate", "norm": None, "residual": False}
)
"""What a hidden layer has beside its activation, and what it has of that by default."""


class MLP:
    """A multilayer perceptron: h_l = phi(W_l h_(l-1) + b_l), and a linear output layer.

    With norm, dropout and skip connections: h_l = dropout(phi(norm(W_l h_(l-1) + b_l))) + h_(l-1).

    Args:
        widths: input, hidden..., output; at least two positive integers.
        activation: of the hidden layers: relu tanh sigmoid gelu silu identity.
        bias: whether each layer adds one.
        loss: "cross_entropy" (softmax, integer labels, mean over the batch) or "mse" (mean over
            samples and outputs).
        l2: lambda of the penalty s = lambda / 2 * sum of ||W||_F^2, which biases have no part in.
        dtype: "float32" or "float64".
        seed: of the initial weights, and of the units that dropout drops.
        dropout: the probability p with which a hidden unit is dropped in a training step; the
            others are scaled by 1 / (1 - p). Prediction drops nothing.
        dropout_mask: how backward knows what was dropped: "regenerate" draws the mask again
            from a counter-based generator keyed by seed, step and layer; "store" keeps it, a byte
            a unit.
        norm: "layer" normalises each sample's z, with a gain gamma and a shift beta; ``None``
            does not.
        residual: a hidden layer adds its input to its output, where both are of one width.

    Raises:
        InvalidValueError, InvalidTypeError: an argument is wrong; the message says what to do.
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        activation: str = "relu",
        bias: bool = True,
        loss: str = "cross_entropy",
        l2: float = 0.0,
        dtype: str = "float32",
        seed: int = 0,
        dropout: float = 0.0,
        dropout_mask: str = "regenerate",
        norm: str | None = None,
        residual: bool = False,
    ) -> None:
        self.widths = _check_widths(widths)
        self.activation = _known("activation", activation, ACTIVATIONS)
        self.bias = _check_flag("bias", bias)
        self.loss = _known("loss", loss, LOSSES)
        self.l2 = _check_l2(l2)
        self.dtype = _known("dtype", _dtype_name(dtype), DTYPES)
        self.seed = check_integer_from_zero("seed", seed)
        self.dropout = _check_dropout(dropout)
        self.dropout_mask = _known("dropout_mask", dropout_mask, MASKS)
        self.norm = norm_named(norm)
        self.residual = _check_flag("residual", residual)

    def __repr__(self) -> str:
        always = ("activation", "bias", "loss", "l2", "dtype", "seed")
        options = {name: getattr(self, name) for name in always}
        options |= {n: v for n, usual in _BLOCKS.items() if (v := getattr(self, n)) != usual}
        return f"MLP({_shown(self.widths)}, {', '.join(f'{k}={v!r}' for k, v in options.items())})"

    def graph(self, mode: Mode = "train") -> Graph:
        """The forward pass, to the objective ("train") or to the output ("inference")."""
        return forward_graph(self._architecture, _known("mode", mode, MODES))

    @cached_property
    def _architecture(self) -> Architecture:
        names = Architecture.__dataclass_fields__
        return Architecture(**{name: getattr(self, name) for name in names})

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        """``{"W1": (out, in), "b1": (out,), ...}``, made when first asked for.

        Weights are normal with variance 2 / in for relu and its kin (He et al. 2015) and 1 / in
        otherwise (LeCun et al. 1998); the gains of norms are one, biases and shifts zero. Training
        updates the arrays in place.
        """
        return self._parameters

    @cached_property
    def _parameters(self) -> dict[str, np.ndarray]:
        generator = np.random.default_rng(self.seed)
        gain = 2.0 if self.activation in ("relu", "gelu", "silu") else 1.0
        made = {}
        for variable in self.graph().parameters:
            shape = variable.shape_at(1)
            made[variable.name] = np.zeros(shape, dtype=np.dtype(self.dtype))
            if len(shape) == 2:
                generator.standard_normal(dtype=np.dtype(self.dtype).type, out=made[variable.name])
                made[variable.name] *= (gain / shape[1]) ** 0.5
            elif variable.name.startswith("gamma"):
                made[variable.name].fill(1)
        return made

    def fit(
        self,
        x: ArrayLike,
        y: ArrayLike,
        *,
        epochs: int = 5,
        batch: SupportsIndex = 64,
        optimizer: str | Optimizer = "adam",
        schedule: str | Schedule = "lean",
        update: str = "at_end",
        validation: tuple[ArrayLike, ArrayLike] | None = None,
        seed: int = 0,
        progress: bool | None = None,
    ) -> "pd.DataFrame":
        """Train on ``x`` (samples, inputs) and ``y`` and return the history, a row per epoch.

        Args:
            x: samples.
            y: labels (samples,) for cross_entropy, targets (samples, outputs) for mse.
            epochs: passes over the data.
            batch: samples per step; the last step of an epoch takes what is left.
            optimizer: a name, or ``mp.Adam(1e-3)``.
            schedule: how each step keeps and recomputes.
            update: when a step updates a parameter: "at_end", or "in_backward".
            validation: samples and labels to score after every epoch.
            seed: of the order of the samples.
            progress: whether to show a bar; ``None`` shows it if stderr is a terminal.

        Returns:
            Columns ``epoch``, ``loss`` (mean of L over the samples, while training), ``objective``
            (of J), ``seconds``, and ``validation_score`` where there is validation data.

        Raises:
            MempropError: data or an argument is wrong, or the loss is no longer a number.
        """
        return training.fit(
            self,
            x,
            y,
            epochs=epochs,
            batch=batch,
            optimizer=optimizer,
            schedule=schedule,
            update=update,
            validation=validation,
            seed=seed,
            progress=progress,
        )

    def predict(self, x: ArrayLike, *, batch: SupportsIndex = 1024) -> np.ndarray:
        """The label with the largest output (samples,); with mse the outputs themselves."""
        outputs = training.outputs(self, x, batch=batch)
        return outputs.argmax(axis=1) if self.loss == "cross_entropy" else outputs

    def score(self, x: ArrayLike, y: ArrayLike, *, batch: SupportsIndex = 1024) -> float:
        """The fraction of labels that are predicted right; with mse the mean squared error."""
        return training.score(self, x, y, batch=batch)


def _shown(widths: tuple[int, ...]) -> str:
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


def _known(what: str, given: object, known: Sequence[str]) -> str:
    if not isinstance(given, str):
        raise InvalidTypeError(f"{what} must be one of {', '.join(known)}, got {given!r}")
    if given not in known:
        raise unknown_name(what, given, known)
    return given


def _dtype_name(dtype: object) -> object:
    """``np.float32`` and ``np.dtype("float32")`` are as good as their name."""
    if isinstance(dtype, type | np.dtype):
        try:
            return np.dtype(dtype).name
        except TypeError:
            return dtype
    return dtype


def _check_flag(name: str, value: object) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise InvalidTypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def norm_named(norm: object) -> str | None:
    """The norm that a user means: "layer", or ``None``, which specs and options write "none"."""
    name = _known("norm", "none" if norm is None else norm, NORMS)
    return None if name == "none" else name


def _check_dropout(dropout: object) -> float:
    p = _number("dropout", dropout)
    if not 0 <= p < 1:
        raise InvalidValueError(f"dropout must be at least 0 and below 1, got {dropout!r}")
    return p


def _check_l2(l2: object) -> float:
    strength = _number("l2", l2)
    if not (np.isfinite(strength) and strength >= 0):
        raise InvalidValueError(f"l2 must be finite and not negative, got {l2!r}")
    return strength


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise InvalidTypeError(f"{name} must be a number, got {value!r}")
    try:
        return float(value)
    except OverflowError:
        raise InvalidValueError(f"{name} must be finite, got a number too large") from None
