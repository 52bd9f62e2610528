"""Prediction: what an engine without arrays would say of a program's allocations.

What happens, and in which order, is the program's own; only how large each storage is depends on
the batch size.
"""

from array import array

import numpy as np

from memprop.engine.program import Program
from memprop.traces.events import ALLOCATE


def predicted_sizes(program: Program, batch: int) -> array:
    """Bytes of each variable that is born, in order, with ``batch`` in the shapes."""
    sizes = np.array(program.schedule.graph.sizes_at(batch), dtype=np.int64)
    sizes = np.concatenate((sizes, sizes[program.order.copies]))  # on disk they are as large
    born = program.order.variable[program.order.kind == ALLOCATE]
    return array("q", sizes[born].tobytes())
