"""The engine's step with the ledger on and off, in one process, one after the other."""

from functools import partial

import memprop as mp
from experiments.benchmarks.contenders.problem import samples, widths
from experiments.benchmarks.contenders.serve import Step, serve, take_turns, warmed


def prepare(depth: int, width: int, batch: int, first: bool) -> dict[str, Step]:
    """A pair of steps; ``first`` says whether the one that records is made and run first.

    Where its arena happens to lie can cost a step more than the ledger does, so a contest prepares
    many pairs, in both orders.
    """
    x, y = samples(batch)
    model = mp.MLP(widths(depth, width))

    def step(record: bool) -> Step:
        made = mp.Step(model, batch, "lean", allocator="arena", record=record)
        return warmed(lambda: made(x, y))

    return {"on" if record else "off": step(record) for record in (first, not first)}


if __name__ == "__main__":
    serve(prepare, turns=partial(take_turns, least=7))
