"""A transformer planned by FLOPs and by seconds: the slow-down that was predicted and measured.

For each budget and each cost: what the plan says a step takes of the time of one that keeps
everything, and what steps take, in turns with those of the plain model.

Run: python -m experiments.benchmarks.checkpoint_seconds [--blocks 6] [--repeats 9] [--out FILE.csv]
"""

import argparse
import statistics
import time
from pathlib import Path

import pandas as pd
import torch
from torch import nn

import memprop.torch as mpt
from experiments.benchmarks import auto_checkpoint

SHARES = (60, 40, 20)
COSTS = ("flops", "seconds")


def seconds_in_turns(modules: list[nn.Module], tokens: torch.Tensor, repeats: int) -> pd.DataFrame:
    """The time of each step: a row for each turn, a column for each module."""
    for module in modules:
        auto_checkpoint.step(module, tokens)
    turns = []
    for _ in range(repeats):
        turn = []
        for module in modules:
            begin = time.perf_counter()
            auto_checkpoint.step(module, tokens)
            turn.append(time.perf_counter() - begin)
            module.zero_grad()
        turns.append(turn)
    return pd.DataFrame(turns)


def rows(repeats: int) -> pd.DataFrame:
    """A row for each budget and cost; ``measured`` is the median of the ratios within a turn."""
    module, tokens = auto_checkpoint.model_and_tokens()
    found, planned = [], []
    for share in SHARES:
        budget = auto_checkpoint.budget_at(share, module, tokens)
        for cost in COSTS:
            begin = time.perf_counter()
            planned.append(
                mpt.auto_checkpoint(
                    module, tokens, budget, loss=auto_checkpoint.loss, target=tokens, cost=cost
                )
            )
            plan = planned[-1].plan
            found.append(
                {
                    "share": share,
                    "cost": cost,
                    "planning_seconds": time.perf_counter() - begin,
                    "recomputed_flops": plan.recomputed_flops,
                    "predicted": plan.slowdown,
                }
            )
    times = seconds_in_turns([module, *planned], tokens, repeats)
    ratios = times.div(times[0], axis=0)
    for row, column in zip(found, ratios.columns[1:], strict=True):
        row["measured"] = statistics.median(ratios[column])
        row["from"], row["to"] = ratios[column].quantile(0.25), ratios[column].quantile(0.75)
    return pd.DataFrame(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    auto_checkpoint.BLOCKS = asked.blocks
    table = rows(asked.repeats)
    print(table.to_string(index=False, float_format="{:.3f}".format))
    if asked.out is not None:
        table.to_csv(asked.out, index=False)


if __name__ == "__main__":
    main()
