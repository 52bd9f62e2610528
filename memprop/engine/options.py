"""How a step of a model is done: what travels from the call of a user to the schedule."""

from dataclasses import dataclass, fields
from typing import Any

from memprop.graph.optimizers import Optimizer
from memprop.schedules.schedule import Schedule


@dataclass(frozen=True, kw_only=True, slots=True)
class StepOptions:
    """The options of a step, as the user gave them.

    Attributes:
        schedule: a name such as "lean", or a schedule that you made. Inference has its own schedule
            whatever is named here.
        mode: "train" or "inference".
        optimizer: a name such as "adam", an optimizer, or ``None``; it updates the parameters in a
            training step.
        update: when a parameter is updated: "at_end" of the step, or "in_backward", as soon as its
            gradient is complete.
        allocator: "arena" or "heap".
    """

    schedule: str | Schedule = "lean"
    mode: str = "train"
    optimizer: str | Optimizer | None = None
    update: str = "at_end"
    allocator: str = "arena"

    def arguments(self) -> dict[str, Any]:
        """The options as the arguments of :class:`memprop.Step`."""
        return {field.name: getattr(self, field.name) for field in fields(self)}
