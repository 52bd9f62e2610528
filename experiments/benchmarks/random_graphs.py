"""Random modules: a few operators, each of which reads some of the values before it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

BATCH, LENGTH, WIDTHS = 16, 32, (16, 32, 64, 128)
POINTWISE = {
    "relu": functional.relu,
    "gelu": functional.gelu,
    "sigmoid": torch.sigmoid,
    "dropout": lambda one: functional.dropout(one, 0.25),
    "softmax": lambda one: one.softmax(-1),
    "layer_norm": lambda one: functional.layer_norm(one, one.shape[-1:]),
}
KINDS = (*("linear",) * 3, *POINTWISE, "add", "mul", "cat", "matmul", "matmul")


class Operator(NamedTuple):
    """One operator of a random module; it makes the value after those that were there before."""

    kind: str
    sources: tuple[int, ...]
    width: int


class RandomGraph(nn.Module):
    """Operators that read one another's results; what none of them reads goes through a layer.

    A value is let go of after its last reader, as where no variable of a program holds it.
    """

    def __init__(self, operators: Sequence[Operator], width: int) -> None:
        super().__init__()
        self.operators = tuple(operators)
        widths = [width, *(operator.width for operator in operators)]
        self.layers = nn.ModuleDict(
            {
                str(number): nn.Linear(widths[operator.sources[0]], operator.width)
                for number, operator in enumerate(operators, 1)
                if operator.kind == "linear"
            }
        )
        self.last = {source: n for n, one in enumerate(operators, 1) for source in one.sources}
        self.ends = [number for number in range(1, len(widths)) if number not in self.last]
        self.head = nn.Linear(sum(widths[number] for number in self.ends), 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values = {0: x}
        for number, operator in enumerate(self.operators, 1):
            values[number] = self._made(number, operator, values)
            for source in set(operator.sources):
                if self.last[source] == number:
                    del values[source]
        ends = [values.pop(number) for number in self.ends]
        return self.head(torch.cat(ends, -1) if len(ends) > 1 else ends.pop())

    def _made(
        self, number: int, operator: Operator, values: dict[int, torch.Tensor]
    ) -> torch.Tensor:
        kind, (first, *others) = operator.kind, [values[source] for source in operator.sources]
        if kind == "linear":
            return self.layers[str(number)](first)
        if kind in POINTWISE:
            return POINTWISE[kind](first)
        (other,) = others
        if kind == "matmul":
            return first @ (other if first.shape[-1] == LENGTH else other.transpose(1, 2))
        if kind == "cat":
            return torch.cat([first, other], -1)
        return first + other if kind == "add" else first * other

    def __str__(self) -> str:
        named = (f"{n}={one.kind}{one.sources}" for n, one in enumerate(self.operators, 1))
        return " ".join(named).replace(",)", ")").replace(", ", ",")


@dataclass(frozen=True)
class Step:
    """What a training step is made of."""

    seed: int
    module: RandomGraph
    x: torch.Tensor
    target: torch.Tensor

    @property
    def options(self) -> dict[str, Any]:
        """The arguments that say what the step is."""
        return {"loss": functional.mse_loss, "target": self.target}


def random_step(seed: int) -> Step:
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    widths = [int(rng.choice(WIDTHS))]
    operators: list[Operator] = []
    for _ in range(rng.integers(4, 11)):
        operators.append(random_operator(rng, widths, operators))
        widths.append(operators[-1].width)
    x = torch.randn(BATCH, LENGTH, widths[0])
    return Step(seed, RandomGraph(operators, widths[0]), x, torch.randn(BATCH, LENGTH, 8))


def random_operator(
    rng: np.random.Generator, widths: Sequence[int], before: Sequence[Operator]
) -> Operator:
    """An operator on values that are there; half of the time on one that none has read yet."""
    kind, read = str(rng.choice(KINDS)), {source for one in before for source in one.sources}
    fresh = [number for number in range(len(widths)) if number not in read]
    first = int(rng.choice(fresh if fresh and rng.random() < 0.5 else range(len(widths))))
    width = widths[first]
    if kind in POINTWISE:
        return Operator(kind, (first,), width)
    fitting = [
        number
        for number, other in enumerate(widths)
        if number != first
        and (other == width or kind == "cat" or (kind, width) == ("matmul", LENGTH))
    ]
    if kind == "linear" or not fitting:
        return Operator("linear", (first,), int(rng.choice(WIDTHS)))
    second = int(rng.choice(fitting))
    if kind == "matmul":
        return Operator(kind, (first, second), widths[second] if width == LENGTH else LENGTH)
    return Operator(kind, (first, second), width + widths[second] if kind == "cat" else width)
