"""How much is measured: which shapes, how often, for how long."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final


@dataclass(frozen=True)
class Shape:
    """An MLP of ``depth`` hidden layers of ``width``, 64 inputs, 10 classes; samples a step."""

    depth: int
    width: int
    batch: int

    def __str__(self) -> str:
        return f"{self.depth} x {self.width} x {self.batch}"

    def asked(self) -> dict[str, int]:
        """As the arguments of a request, and as columns of a CSV."""
        return asdict(self)

    def cell(self) -> dict[str, str]:
        """As the first column of a table."""
        return {"depth x width x batch": str(self)}


@dataclass(frozen=True, kw_only=True)
class Effort:
    """What a run of the suite may spend.

    Attributes:
        shapes: of the steps that are timed and weighed.
        updates: what a timed step ends with: nothing (``None``), "sgd" or "adam".
        rounds: how many turns each contender gets.
        seconds: how long a turn is, unless a single step takes longer.
        recomputed: shapes at which recomputation is measured.
        depths: of the models that are simulated.
        batch_sizes: for how many of them peaks are predicted.
        profiled: shapes of the script that is run under profilers.
        profiled_rounds: how often, under each: one of them takes long to end.
    """

    shapes: tuple[Shape, ...]
    updates: tuple[str | None, ...]
    rounds: int
    seconds: float
    recomputed: tuple[Shape, ...]
    depths: tuple[int, ...]
    batch_sizes: int
    profiled: tuple[Shape, ...]
    profiled_rounds: int

    def steps(self) -> Iterator[tuple[str | None, Shape]]:
        """Every update with every shape."""
        return ((update, shape) for update in self.updates for shape in self.shapes)


def arguments(shape: Shape, update: str | None) -> dict[str, Any]:
    """A step of that shape and update, as the arguments of a request."""
    return {**shape.asked(), "update": update}


def columns(shape: Shape, update: str | None) -> dict[str, Any]:
    """A step of that shape and update, as columns of a CSV."""
    return {**shape.asked(), "update": update or "none"}


def cells(shape: Shape, update: str | None) -> dict[str, str]:
    """The same as the first columns of a table."""
    return {**shape.cell(), "update": update or "none"}


def moment(update: str | None) -> str:
    """When memprop applies an update: in backward, so that no gradient is left, as JAX leaves none.

    Without an update the gradients are what is asked for, and are there at the end.
    """
    return "at_end" if update is None else "in_backward"


SMALLEST: Final = Shape(4, 64, 32)

FULL: Final = Effort(
    shapes=(
        SMALLEST,
        Shape(4, 128, 32),
        Shape(4, 512, 256),
        Shape(16, 256, 64),
        Shape(8, 1024, 512),
        Shape(8, 2048, 128),
        Shape(32, 1024, 1024),
    ),
    updates=(None, "sgd", "adam"),
    rounds=5,
    seconds=0.2,
    recomputed=(Shape(32, 256, 512), Shape(64, 256, 512), Shape(32, 512, 2048)),
    depths=(125, 250, 500, 1000, 2000),
    batch_sizes=10**6,
    profiled=(SMALLEST, Shape(4, 512, 256)),
    profiled_rounds=3,
)

QUICK: Final = Effort(
    shapes=(SMALLEST, Shape(4, 512, 256)),
    updates=(None,),
    rounds=3,
    seconds=0.05,
    recomputed=(Shape(32, 256, 512),),
    depths=(125, 250, 500),
    batch_sizes=10**4,
    profiled=(SMALLEST,),
    profiled_rounds=1,
)
