"""The trials that a specification stands for."""

import hashlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import MISSING, asdict, dataclass, field, make_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from memprop.documents import STRICT, from_line
from memprop.sweep.axes import AXES, TABLE
from memprop.sweep.imports import digest_of

if TYPE_CHECKING:
    from memprop.sweep.spec import SweepSpec

LEDGER: Final = "ledger"
TIMES: Final = "times"
"""The parts of a trial other than its witnesses."""


_Coordinates: Any = make_dataclass(
    "_Coordinates",
    [
        (axis.name, axis.check.kind, field(default=axis.default))
        for axis in sorted(TABLE, key=lambda axis: axis.default is not MISSING)
    ],
    frozen=True,
    kw_only=True,
)
"""A field for each axis."""


@dataclass(frozen=True, kw_only=True)
class Point(_Coordinates):
    """What is asked for: one point of the product of the axes. A prediction needs no more.

    Attributes:
        seed: of the parameters and of the order of the samples.
        data_source: "digits" or a path.
        data_digest: SHA-256 of the data file, so that other data make another trial.
        imports: files that every process runs first, see :mod:`memprop.sweep.imports`.
        imports_digest: SHA-256 of these files.

    The axes are fields too, see :mod:`memprop.sweep.axes`.
    """

    __pydantic_config__ = STRICT

    seed: int
    data_source: str
    data_digest: str = ""
    imports: tuple[str, ...] = ()
    imports_digest: str = ""

    def axes(self) -> dict[str, Any]:
        """The coordinates of the point, as every row of results starts."""
        return {name: getattr(self, name) for name in AXES}


@dataclass(frozen=True, kw_only=True)
class Trial(Point):
    """A point, and how to measure it: all that a process needs to run it.

    What comes of it is a :class:`memprop.sweep.measurement.Measurement`.

    Attributes:
        witnesses: who watches the peak, in the order of the registry.
        steps: steps in a repeat.
        repeats: how often the steps are timed.
        timeout_seconds: the process is killed after that long.
        memory_limit_bytes: of the process's address space; None for no limit.
    """

    witnesses: tuple[str, ...]
    steps: int
    repeats: int
    timeout_seconds: float
    memory_limit_bytes: int | None

    @property
    def key(self) -> str:
        """16 hexadecimal digits that stand for everything that decides the result.

        A limit decides whether there is a result, so a trial with another limit is another trial.
        Axes that have their default are left out, so that a new axis leaves all keys as they are.
        """
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """One line of JSON, the same for equal trials on every machine.

        Axes that have their default are left out.
        """
        usual = {axis.name: axis.default for axis in TABLE} | {"imports": (), "imports_digest": ""}
        values = {
            name: value
            for name, value in asdict(self).items()
            if name not in usual or value != usual[name]
        }
        return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Trial":
        """The trial that :meth:`to_json` wrote.

        Raises:
            DataError: ``text`` is none.
        """
        return from_line(cls, text, "trial")


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
    imported = digest_of(spec.imports)
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
            imports=spec.imports,
            imports_digest=imported,
        )
        yield replace(trial, schedule="inference") if trial.mode == "inference" else trial
