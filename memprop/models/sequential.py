"""A model as a sequence of layers."""

from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike

from memprop.checks import Check, Choice, Count, FromZero, check_positive_integer
from memprop.engine.prepare import Mode
from memprop.errors import InvalidTypeError, InvalidValueError
from memprop.graph.build import Built, Network, build
from memprop.graph.graph import Graph
from memprop.graph.layers import Layer, listed
from memprop.graph.losses import LOSSES
from memprop.graph.optimizers import Optimizer
from memprop.models import training
from memprop.schedules.schedule import Schedule
from memprop.terms import MODES

if TYPE_CHECKING:
    import pandas as pd

DTYPES: Final = ("float32", "float64")


class _DTypeName(Choice):
    """A dtype by name; ``np.float32`` and ``np.dtype("float32")`` are as good as their name."""

    def __call__(self, name: str, value: Any) -> Any:
        """The name."""
        if isinstance(value, type | np.dtype):
            with suppress(TypeError):
                value = np.dtype(value).name
        return super().__call__(name, value)


LOSS: Final[Check] = Choice(LOSSES)
L2: Final[Check] = FromZero()
DTYPE: Final[Check] = _DTypeName(DTYPES)
SEED: Final[Check] = Count(least=0)
_MODE: Final[Check] = Choice(MODES)


class Sequential:
    """A model: layers, one after the other, and a loss of the last one's output.

    Args:
        layers: such as ``[mp.Linear(256), mp.ReLU(), mp.Linear(10)]``. Each takes what the one
            before it makes; none has to say how large that is.
        inputs: the shape of a sample: ``(64,)``, or ``(1, 28, 28)`` for an image.
        loss: "cross_entropy" (softmax, integer labels, mean over the batch), "mse" (mean over
            samples and outputs), or another that is registered.
        l2: lambda of the penalty s = lambda / 2 * sum of ||W||^2 over all weights; biases and the
            parameters of norms have no part in it.
        dtype: "float32" or "float64".
        seed: of the initial weights, and of the units that dropout drops.

    Raises:
        InvalidValueError, InvalidTypeError: an argument is wrong; the message says what to do.
        GraphError: a layer does not take what the one before it makes.

    >>> import memprop as mp
    >>> model = mp.Sequential([mp.Linear(32), mp.ReLU(), mp.Linear(10)], inputs=(64,))
    >>> list(model.parameters)
    ['W1', 'b1', 'W2', 'b2']
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        *,
        inputs: int | Sequence[int],
        loss: str = "cross_entropy",
        l2: float = 0.0,
        dtype: str = "float32",
        seed: int = 0,
    ) -> None:
        self.layers = listed(type(self).__name__, layers)
        if not self.layers:
            raise InvalidValueError(f"{type(self).__name__} needs at least one layer, got []")
        self.inputs = _shape(inputs)
        self.loss = LOSS("loss", loss)
        self.l2 = L2("l2", l2)
        self.dtype = DTYPE("dtype", dtype)
        self.seed = SEED("seed", seed)
        self._network = Network(
            layers=self.layers,
            inputs=self.inputs,
            loss=self.loss,
            l2=self.l2,
            dtype=self.dtype,
            seed=self.seed,
        )

    def __repr__(self) -> str:
        options = {"inputs": self.inputs, "loss": self.loss, "dtype": self.dtype, "seed": self.seed}
        given = ", ".join(f"{name}={value!r}" for name, value in options.items())
        return f"Sequential([{', '.join(map(repr, self.layers))}], {given})"

    def graph(self, mode: Mode = "train") -> Graph:
        """The forward pass, to the objective ("train") or to the output ("inference")."""
        return self._built(mode).graph

    def _built(self, mode: Mode) -> Built:
        return build(self._network, _MODE("mode", mode))

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        """``{"W1": (out, in), "b1": (out,), ...}``, made when first asked for.

        Weights are normal with a variance of gain over the number of inputs, where the gain is 2
        for relu and its kin (He et al. 2015) and 1 otherwise (LeCun et al. 1998); the gains of
        norms are one, biases and shifts zero. Training updates the arrays in place.
        """
        return self._parameters

    @cached_property
    def _parameters(self) -> dict[str, np.ndarray]:
        generator = np.random.default_rng(self.seed)
        graph, initial = self._built("train")
        made = {}
        for variable in graph.parameters:
            array = np.zeros(variable.shape_at(1), dtype=np.dtype(variable.dtype))
            initial[variable.name](generator, array)
            made[variable.name] = array
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
            schedule: what each step keeps and recomputes.
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
        """The label with the largest output (samples,); with targets the outputs themselves."""
        outputs = training.outputs(self, x, batch=batch)
        return outputs.argmax(axis=1) if LOSSES[self.loss].labels else outputs

    def score(self, x: ArrayLike, y: ArrayLike, *, batch: SupportsIndex = 1024) -> float:
        """The fraction of labels that are predicted right; with targets the mean squared error."""
        return training.score(self, x, y, batch=batch)


def _shape(inputs: int | Sequence[int]) -> tuple[int, ...]:
    try:
        given = (inputs,) if isinstance(inputs, int | np.integer) else tuple(inputs)
    except TypeError:
        raise InvalidTypeError(
            f"inputs must be the shape of a sample, such as (64,), got {inputs!r}"
        ) from None
    if not given:
        raise InvalidValueError("inputs must have at least one extent, such as (64,), got ()")
    return tuple(check_positive_integer(f"inputs[{i}]", size) for i, size in enumerate(given))
