"""What a schedule is made of: computing, freeing, storing on disk, loading from there."""

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


@dataclass(frozen=True, slots=True)
class Store:
    """Copy a variable from memory to disk; that in memory stays until it is freed."""

    variable: str

    def __str__(self) -> str:
        return f"store   {self.variable}"


@dataclass(frozen=True, slots=True)
class Load:
    """Bring a variable that is stored back into memory; the copy on disk is gone then."""

    variable: str

    def __str__(self) -> str:
        return f"load    {self.variable}"


Action = Compute | Free | Store | Load
