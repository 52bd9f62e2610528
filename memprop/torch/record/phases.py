"""Which part of a step runs: the one that was told, or what can be seen of it."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch

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
        self._modules = modules
        self._backwards = backwards
        self._told = "setup"
        self._seen = "setup"
        self._optimizer = ""
        self._named: list[str] = []
        self._was_forward = False

    @property
    def ended(self) -> bool:
        """Whether the step was told to be over."""
        return self._told == "end"

    def tell(self, part: str) -> None:
        """Say what begins. Nothing else counts from then on; "" ends that."""
        self._told = part

    def begin_step(self) -> None:
        """A step begins of which nothing is told."""
        self._seen, self._was_forward = "setup", False
        self._told = ""
        self._backwards.count = 0

    def backward_begins(self) -> None:
        """A backward pass begins: what needs a gradient after it is forward again."""
        self._was_forward = False

    @contextmanager
    def named(self, name: str) -> Iterator[None]:
        """Put a name of the user's before all parts that run inside the block."""
        self._named.append(name)
        try:
            yield
        finally:
            self._named.remove(name)

    @property
    def now(self) -> str:
        """The part that runs; "forward" where a backward pass computes something again."""
        part = self._told or ("backward" if self.backward else self._seen)
        return "forward" if part == "backward" and self.recomputes else part

    @property
    def backward(self) -> bool:
        """Whether a backward pass runs, a recomputation within it included."""
        if self._told:
            return self._told == "backward"
        return self._backwards.running or torch._C._current_graph_task_id() != -1

    @property
    def recomputes(self) -> bool:
        """Whether a backward pass runs an operator of the forward pass again."""
        # A checkpoint enables gradients for what it computes again; a backward pass has none.
        inside = self.backward and torch._C._current_graph_task_id() != -1
        return inside and torch.is_grad_enabled() and not self._backwards.makes_graph

    @property
    def makes_graph(self) -> bool:
        """Whether a backward pass runs that can be differentiated itself."""
        return self.backward and self._backwards.makes_graph

    @property
    def name(self) -> str:
        """The name of the part, with the number of the backward pass or the optimizer."""
        part = self.now
        if not self._told:
            if part == "backward" and self._backwards.count > 1:
                part = f"backward {self._backwards.count}"
            elif part == "update" and self._optimizer:
                part = f"update {self._optimizer}"
        return "/".join((*self._named, part)) if self._named and part != "setup" else part

    def see(self, operands: Iterable[torch.Tensor], made: Iterable[tuple[str, str]]) -> None:
        """Learn from the operator that runs.

        Args:
            operands: what it is given.
            made: of those of them that are known, the category and the part in which each was made.
        """
        if self._told or self.backward:
            return
        self._seen = self._part(operands, made)
        self._optimizer = self.updating[-1] if self.updating else ""
        self._was_forward |= self._seen == "forward"

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
