"""What a schedule is made of: computing an operator, freeing a variable."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class Free:
    """Let go of a variable."""

    variable: str

    def __str__(self) -> str:
        return f"free    {self.variable}"


Action = Compute | Free
