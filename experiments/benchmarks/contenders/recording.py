"""The engine's step with the ledger on and off, in one process, one after the other."""

from functools import partial

import numpy as np

import memprop as mp
from experiments.benchmarks.contenders.serve import Step, serve, take_turns, warmed


def prepare(depth: int, width: int, batch: int, first: bool) -> dict[str, Step]:
    """A pair of steps; ``first`` says whether the one that records is made and run first.

    Where its arena happens to lie can cost a step more than the ledger does, so a contest prepares
    many pairs, in both orders.
    """
    random = np.random.default_rng(0)
    x, y = random.random((batch, 64), dtype=np.float32), random.integers(0, 10, batch)
    model = mp.MLP([64] + [width] * depth + [10])

    def step(record: bool) -> Step:
        made = mp.Step(model, batch, "lean", allocator="arena", record=record)
        return warmed(lambda: made(x, y))

    return {"on" if record else "off": step(record) for record in (first, not first)}


if __name__ == "__main__":
    serve(prepare, turns=partial(take_turns, least=7))
