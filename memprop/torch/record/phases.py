"""Which part of a step runs: the one that was told, or what can be seen of it."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch

from memprop.torch.record.again import is_running_again
from memprop.torch.record.backwards import Backwards
from memprop.torch.record.modules import Modules

_OF_LEARNING = ("parameter", "parameter_gradient", "optimizer_state")


class Phases:
    """Tells the part of a step that runs.

    The parts are those of :data:`memprop.terms.PHASES`, and two more:

    - "data" makes or moves what a step is given: outside of all modules, nothing that learns;
    - "evaluation" runs modules without gradients.

    What runs outside of all modules is taken for a part of what made its operands.

    Args:
        modules: those that run.
        backwards: the backward passes.
    """

    def __init__(self, modules: Modules, backwards: Backwards) -> None:
        self.updating: list[str] = []
        """The optimizers whose ``step`` runs, by name."""
        self.now = "setup"
        """The part that runs; "forward" where a backward pass computes something again."""
        self.name = "setup"
        """The name of that, with the number of the backward pass or the optimizer."""
        self.backward = False
        """Whether a backward pass runs, a recomputation within it included."""
        self.recomputes = False
        """Whether a backward pass runs an operator of the forward pass again."""
        self.makes_graph = False
        """Whether a backward pass runs that can be differentiated itself."""
        self._modules = modules
        self._backwards = backwards
        self._told = ""
        self._named: list[str] = []
        self._was_forward = False

    @property
    def ended(self) -> bool:
        """Whether the step was told to be over."""
        return self._told == "end"

    def tell(self, part: str) -> None:
        """Say what begins. Nothing else counts from then on."""
        self._told = part
        self._set(part)

    def begin_step(self) -> None:
        """A step begins of which nothing is told."""
        self._told, self._was_forward = "", False
        self.updating.clear()  # an optimizer whose step failed does not say that it is over
        self._backwards.count = 0
        self._set("setup")

    def backward_begins(self) -> bool:
        """Whether a backward pass that begins is one, and no part of what was told."""
        self._was_forward = False  # what needs a gradient after it is forward again
        return self._told in ("", "backward")

    @contextmanager
    def named(self, name: str) -> Iterator[None]:
        """Put a name of the user's before all parts that run inside the block."""
        self._named.append(name)
        try:
            yield
        finally:
            self._named.pop()

    def see(self, operands: Iterable[torch.Tensor], made: Iterable[tuple[str, str]]) -> None:
        """Learn from the operator that runs.

        Args:
            operands: what it is given.
            made: of those of them that are known, the category and the part in which each was made.
        """
        inside = torch._C._current_graph_task_id() != -1
        if self._told == "backward" or (not self._told and (inside or self._backwards.running)):
            self._set("backward", inside=inside)
            return
        part = self._told or self._part(operands, made)
        self._was_forward |= part == "forward"
        self._set(part)

    def _set(self, part: str, *, inside: bool = False) -> None:
        self.backward = part == "backward"
        self.makes_graph = self.backward and self._backwards.makes_graph
        # A checkpoint enables gradients for what it computes again; a backward pass has none.
        again = torch.is_grad_enabled() and not self.makes_graph
        self.recomputes = inside and (again or is_running_again())
        self.now = "forward" if self.recomputes else part
        self.name = self._name_of(self.now)

    def _name_of(self, part: str) -> str:
        name = part
        if not self._told:
            if part == "backward" and self._backwards.count > 1:
                name = f"backward {self._backwards.count}"
            elif part == "update" and self.updating:
                name = f"update {self.updating[-1]}"
        return "/".join((*self._named, name)) if self._named and part != "setup" else name

    def _part(self, operands: Iterable[torch.Tensor], made: Iterable[tuple[str, str]]) -> str:
        learns = torch.is_grad_enabled()
        if self.updating and not learns:
            return "update"
        if self._modules.running:
            if not learns:
                return "evaluation"
            return "loss" if self._modules.is_loss else "forward"
        if learns and any(operand.requires_grad for operand in operands):
            return "loss" if self._was_forward else "forward"
        known = list(made)
        if any(category in _OF_LEARNING for category, _ in known):
            return "update"
        parts = {part for _, part in known}
        for part in ("update", "evaluation"):
            if part in parts:
                return part
        if parts & {"forward", "loss"}:
            return "loss" if learns else "evaluation"
        return "data"
