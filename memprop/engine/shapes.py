"""Prediction: what an engine without arrays would say of a program's allocations."""

from array import array

from memprop.engine.program import Program


def predicted_sizes(program: Program, batch: int) -> array:
    """Bytes of each variable that is born, in order, with ``batch`` in the shapes."""
    sizes = [v.nbytes.at(batch) for v in program.schedule.graph.variables]
    return array("q", (sizes[b.variable] for i in program.instructions for b in i.births))
