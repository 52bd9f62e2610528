"""How long the whole trade-off of a chain takes to plan: 100 and 300 stages at 1,000 levels.

Run: python experiments/benchmarks/plan_frontier.py
"""

import random
import statistics
import time

import memprop as mp
from memprop.schedules import grid, optimal


def chain_of(stages: int, seed: int) -> mp.Chain:
    generator = random.Random(seed)  # noqa: S311 - no secrets here
    outputs = [generator.randint(1_000, 100_000) for _ in range(stages)]
    return mp.Chain(
        forward_cost=[generator.randint(1, 1000) for _ in range(stages)],
        backward_cost=[generator.randint(1, 2000) for _ in range(stages)],
        input_bytes=generator.randint(1_000, 100_000),
        output_bytes=outputs,
        saved_bytes=[size * generator.choice([1, 2, 3]) for size in outputs],
        forward_workspace=[generator.randint(0, 5000) for _ in range(stages)],
        backward_workspace=[generator.randint(0, 5000) for _ in range(stages)],
    )


def seconds(stages: int, seed: int) -> tuple[float, int]:
    chain = chain_of(stages, seed)
    optimal.frontier_plans.cache_clear()
    grid.solve.cache_clear()
    begin = time.perf_counter()
    plans = mp.optimal_frontier(chain, levels=1000)
    return time.perf_counter() - begin, len(plans)


def main() -> None:
    mp.optimal_frontier(chain_of(20, 0))  # imports pandas
    print("stages  levels  plans  seconds (median of repeats)")
    for stages, repeats in ((100, 7), (300, 3)):
        measured = [seconds(stages, seed) for seed in range(repeats)]
        median = statistics.median(taken for taken, _ in measured)
        plans = statistics.median(count for _, count in measured)
        print(f"{stages:6d}  {1000:6d}  {plans:5.0f}  {median:.2f}")


if __name__ == "__main__":
    main()
