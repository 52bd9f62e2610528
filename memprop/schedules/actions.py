"""What is done, in which order: a schedule is a flat tuple of actions over a graph."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from memprop.graph.affine import Affine
from memprop.graph.graph import Graph


@dataclass(frozen=True, kw_only=True, slots=True)
class Compute:
    """Run an operator.

    Attributes:
        operator: its name. A schedule that names it twice recomputes.
        into: ``(target, operand)`` pairs: the target, a result or workspace of the operator, is
            written into the buffer of the operand, which dies here.
    """

    operator: str
    into: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        over = ", ".join(f"{target} over {operand}" for target, operand in self.into)
        return f"compute {self.operator}" + (f"  [{over}]" if over else "")


@dataclass(frozen=True, kw_only=True, slots=True)
class Free:
    """Let go of a variable."""

    variable: str

    def __str__(self) -> str:
        return f"free    {self.variable}"


Action = Compute | Free


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A training step as a list of things to do.

    Attributes:
        name: how a user names it, as "lean".
        graph: the step that the actions belong to.
        actions: in the order in which they are done.
    """

    name: str
    graph: Graph
    actions: tuple[Action, ...]

    def __str__(self) -> str:
        return "\n".join(f"{n:5d}  {action}" for n, action in enumerate(self.actions))

    def computes(self) -> Iterator[Compute]:
        """The actions that run an operator."""
        return (action for action in self.actions if isinstance(action, Compute))

    @property
    def flops(self) -> Affine:
        """Floating-point operations of the step, those of recomputation included."""
        return self._flops(lambda times: times)

    @property
    def recomputed_flops(self) -> Affine:
        """Floating-point operations that are done more than once."""
        return self._flops(lambda times: times - 1)

    def _flops(self, weight) -> Affine:
        total = Affine(0, 0)
        for name, times in Counter(action.operator for action in self.computes()).items():
            cost = self.graph.flops(self.graph.operators_by_name[name])
            total = total.plus(cost.times(weight(times)))
        return total
