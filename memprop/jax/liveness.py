"""How long the values of a program live, and the most that is alive at once."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from memprop.jax.program import Block, Operand, Step, Value, present


def deaths(
    steps: Sequence[Step], outlive: Iterable[Operand], donated: Iterable[Value] = ()
) -> Mapping[int, list[Value]]:
    """For the number of each step the values that die after it.

    Args:
        steps: in order; values that none of them makes do not die.
        outlive: values that do not die either.
        donated: values that none of them makes and that die after the last step that reads them;
            one that is not read stays.
    """
    last: dict[Value, int] = {}
    made: dict[Value, None] = dict.fromkeys(donated)
    for number, step in enumerate(steps):
        made.update(dict.fromkeys(step.makes))
        for value in (*step.reads, *step.keeps, *step.makes):
            last[value] = number
    staying = set(present(outlive))
    found: defaultdict[int, list[Value]] = defaultdict(list)
    for value in made:
        if value not in staying and value in last:
            found[last[value]].append(value)
    return found


def peak(block: Block) -> int:
    """The most bytes of storages made in ``block`` that are alive at once.

    What it reads from outside does not count; its outputs live to its end.
    """
    dying = deaths(block.steps, block.outputs)
    holders: Counter[Value] = Counter()
    made: set[Value] = set()
    live = most = 0
    for number, step in enumerate(block.steps):
        made.update(step.makes)
        for storage in (value.storage for value in step.makes if value.storage in made):
            live += 0 if holders[storage] else storage.bytes
            holders[storage] += 1
        most = max(most, live)
        for storage in (value.storage for value in dying.get(number, ()) if value.storage in made):
            holders[storage] -= 1
            live -= 0 if holders[storage] else storage.bytes
    return most
