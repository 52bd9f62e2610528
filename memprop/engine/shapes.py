"""Prediction: the log of a run that need not take place, from the shapes alone.

What happens, and in which order, is the program's own, the same that is run on arrays; all that is
asked here is how large each storage would be.
"""

from array import array

import numpy as np

from memprop.engine.log import Log
from memprop.engine.program import Program
from memprop.traces.events import ALLOCATE


def predict(program: Program, batch: int) -> Log:
    """The log that a run of ``program`` would leave; its times are -1, where nothing is run.

    Args:
        program: what would run.
        batch: the value of the batch size in the shapes.
    """
    order = program.order
    sizes = [variable.nbytes.at(batch) for variable in program.schedule.graph.variables]
    born = np.array(sizes, dtype=np.int64)[order.variable[order.kind == ALLOCATE]]
    nowhere = np.full(len(order.instructions), -1, dtype=np.int64)
    return Log(*(array("q", column.tobytes()) for column in (born, nowhere, nowhere)))
