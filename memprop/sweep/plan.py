"""The trials that a specification stands for."""

import hashlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from memprop.errors import DataError

if TYPE_CHECKING:
    from memprop.sweep.spec import SweepSpec

AXES: Final = (
    "depth",
    "batch",
    "width",
    "mode",
    "schedule",
    "activation",
    "optimizer",
    "loss",
    "bias",
    "l2",
    "dtype",
    "update",
    "dropout",
    "dropout_mask",
    "norm",
    "residual",
)
"""The axes of a grid in the order of the columns of results; the last one turns fastest."""


LEDGER: Final = "ledger"
TIMES: Final = "times"
"""The parts of a trial beside its witnesses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One point of the product and how to measure it: all that a process needs to run it.

    Attributes:
        depth: number of hidden layers.
        batch: samples of a step.
        width: units of each hidden layer.
        l2: factor of the penalty.
        update: when the optimizer updates a parameter.
        dropout: probability that a hidden unit is dropped.
        dropout_mask: whether the mask is drawn again or kept.
        norm: of the hidden layers; "none" for none.
        residual: whether hidden layers have skip connections.
        seed: of the parameters and of the order of the samples.
        witnesses: who watches the peak, in the order of :data:`WITNESSES`.
        steps: steps in a repeat.
        repeats: how often the steps are timed.
        timeout_seconds: the process is killed after that long.
        memory_limit_bytes: of the process's address space; None for no limit.
        data_source: "digits" or a path.
        data_digest: SHA-256 of the data file, so that other data make another trial.
    """

    depth: int
    batch: int
    width: int
    mode: str
    schedule: str
    activation: str
    optimizer: str
    loss: str
    bias: bool
    l2: float
    dtype: str
    seed: int
    witnesses: tuple[str, ...]
    steps: int
    repeats: int
    timeout_seconds: float
    memory_limit_bytes: int | None
    data_source: str
    data_digest: str = ""
    update: str = "at_end"
    dropout: float = 0.0
    dropout_mask: str = "regenerate"
    norm: str = "none"
    residual: bool = False

    @property
    def key(self) -> str:
        """16 hexadecimal digits that stand for everything that decides the result.

        All fields do: a limit decides whether there is one, so a trial with another limit is
        another trial.
        """
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def axes(self) -> dict[str, Any]:
        """The coordinates of the point, as every row of results starts."""
        return {name: getattr(self, name) for name in AXES}

    def to_json(self) -> str:
        """One line of JSON, the same for equal trials on every machine."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Trial":
        """The trial that :meth:`to_json` wrote.

        Raises:
            DataError: ``text`` is none.
        """
        try:
            values = json.loads(text)
            return cls(**{**values, "witnesses": tuple(values["witnesses"])})
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(f"{text[:60]!r} is no trial in JSON: {error}") from None


def trials(spec: "SweepSpec") -> tuple[Trial, ...]:
    """Every point of the grid once; the last axis turns fastest.

    All schedules of mode "inference" are one trial, for it has a schedule of its own.
    """
    return tuple(dict.fromkeys(_product(spec)))


def _digest(source: str) -> str:
    """SHA-256 of a data file; empty for the bundled data and for a file that is not there."""
    path = Path(source)
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _product(spec: "SweepSpec") -> Iterator[Trial]:
    measure, digest = spec.measure, _digest(spec.data.source)
    products = (itertools.product(*(getattr(grid, a) for a in AXES)) for grid in spec.grid)
    for point in itertools.chain.from_iterable(products):
        trial = Trial(
            **dict(zip(AXES, point, strict=True)),
            seed=spec.seed,
            witnesses=measure.witnesses,
            steps=measure.steps,
            repeats=measure.repeats,
            timeout_seconds=measure.timeout,
            memory_limit_bytes=measure.memory_limit,
            data_source=spec.data.source,
            data_digest=digest,
        )
        yield replace(trial, schedule="inference") if trial.mode == "inference" else trial
