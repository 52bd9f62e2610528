"""Why the recurrence of chains has three solvers: what the grid alone would miss.

    python -m experiments.benchmarks.solvers

Random chains with sizes of odd bytes. For short ones the exact solver is held against the grid of a
thousand levels; for long ones the smallest budget that the grid finds against that of the solver
for the least memory.
"""

import random
import time

import memprop as mp
from memprop.schedules import exact, least
from memprop.schedules.optimal import LEVELS, everything_saved
from memprop.schedules.optimal import _grid as grid_of
from memprop.schedules.plan import replay

FRACTIONS = (0, 0.05, 0.15, 0.3, 0.5, 0.7, 0.9)
"""Of the way from the smallest budget to keeping everything."""


def chain(stages, chance):
    outputs = [chance.randint(10_000, 5_000_000) for _ in range(stages)]
    return mp.Chain(
        forward_cost=[chance.uniform(1, 10) for _ in range(stages)],
        backward_cost=[chance.uniform(2, 20) for _ in range(stages)],
        input_bytes=chance.randint(10_000, 5_000_000),
        output_bytes=outputs,
        saved_bytes=[size + chance.randint(0, 8_000_000) for size in outputs],
        forward_workspace=[chance.randint(0, 2_000_000) for _ in range(stages)],
        backward_workspace=[chance.randint(0, 2_000_000) for _ in range(stages)],
    )


def short_chains(chance, count=60):
    """How often, and by how much, the grid's plan costs more than the exact one."""
    worse, nothing, total, seconds = [], 0, 0, [0.0, 0.0]
    for _ in range(count):
        one = chain(chance.randint(4, 12), chance)
        begin = time.process_time()
        choices = exact.choices(one)
        seconds[0] += time.process_time() - begin
        low, high = choices[0].need + one.input_bytes, everything_saved(one).peak
        for fraction in FRACTIONS:
            budget, total = int(low + (high - low) * fraction), total + 1
            best = [c for c in choices if c.need + one.input_bytes <= budget][-1]
            cost = replay(one, exact.actions(one, best)).cost
            begin = time.process_time()
            grid = grid_of(one, budget, LEVELS)
            seconds[1] += time.process_time() - begin
            if grid.levels()[-1] == float("inf"):
                nothing += 1
                continue
            found = replay(one, grid.actions(len(grid.levels()) - 1)).cost
            if found > cost * (1 + 1e-12):
                worse.append(found / cost - 1)
    print(f"chains of 4 to 12 stages, {total} budgets:")
    print(f"  the grid finds nothing in {nothing}, and costs more in {len(worse)}")
    print(f"  by {max(worse, default=0):.1%} at worst")
    print(f"  seconds: exact {seconds[0]:.1f} (all budgets at once), grid {seconds[1]:.1f}")


def long_chains(chance):
    """How far the smallest budget of the grid is from the smallest there is."""
    for stages in (20, 40, 80):
        one = chain(stages, chance)
        smallest = replay(one, least.actions(one)).peak
        low, high = smallest, everything_saved(one).peak
        while high - low > smallest // 5000:
            middle = (low + high) // 2
            fits = grid_of(one, middle, LEVELS).levels()[-1] < float("inf")
            low, high = (low, middle) if fits else (middle, high)
        print(f"{stages} stages: the grid needs {high / smallest - 1:.3%} more than the least")


if __name__ == "__main__":
    generator = random.Random(0)  # noqa: S311 - nothing secret
    short_chains(generator)
    long_chains(generator)
