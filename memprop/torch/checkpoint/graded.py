"""The whole forward pass as one stage: in which order what it makes is worth computing again.

Ways of the whole pass keep nothing just because it is handed from one part to another. Each holds
the ones before it, so that all that can run again has an order. A prefix of it is a choice, and a
longer one keeps fewer bytes.
"""

from itertools import pairwise
from typing import Final

from memprop.torch.checkpoint.rehearsal import Rehearsal
from memprop.torch.checkpoint.stages import Stage
from memprop.torch.checkpoint.ways import ways_of

_MOST: Final = 24
"""Ways of the whole pass, at most."""


def graded_units(step: Rehearsal) -> list[list[tuple[int, ...]]]:
    """Units of calls in the order in which they are worth running again, a list for each way.

    Within a way the earliest come first: they would be kept for the longest time.
    """
    calls = tuple(call.number for call in step.seen.calls if call.forward == 0)
    ways = ways_of(step, Stage(calls, frozenset(), frozenset()), _MOST)
    return [step.units(sorted(after - before)) for before, after in pairwise(ways)]
