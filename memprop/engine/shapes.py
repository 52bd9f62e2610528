"""The backend without arrays: prediction is the engine's own loop with nothing in it."""

from memprop.engine.program import Instruction, Program


class Shapes:
    """Says what each variable would take, allocates nothing and computes nothing."""

    def __init__(self, program: Program, batch: int) -> None:
        self._sizes = [v.nbytes.at(batch) for v in program.schedule.graph.variables]

    def allocate(self, variable: int, storage: int, over: int) -> int:  # noqa: ARG002
        """The bytes that ``variable`` would take."""
        return self._sizes[variable]

    def compute(self, instruction: Instruction) -> None:
        """Nothing is computed."""

    def free(self, variable: int) -> None:
        """Nothing is held."""

    def clock(self) -> int:
        """There is no time where nothing runs."""
        return -1
