"""What each part of the planner of ``budget:BYTES`` gains and costs: which of them pay.

    python -m experiments.benchmarks.planner reports/planner

Each variant plans six budgets for seven networks, from near the smallest to near the peak of
"lean", and the table says how far its FLOPs are above those of the best variant. Caches are emptied
before each plan, and times are those of the processor.
"""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

import memprop as mp
from memprop.graph.autodiff import differentiate
from memprop.graph.graph import Graph
from memprop.schedules import as_chain, budget, exact, grid, least, optimal, space
from memprop.schedules.drop_recomputations import Priced

NETWORKS: Mapping[str, tuple[dict[str, Any], int]] = {
    "8 x 256, relu": ({"widths": [64, *[256] * 8, 10]}, 512),
    "16 x 128, gelu": ({"widths": [64, *[128] * 16, 10], "activation": "gelu"}, 256),
    "32 x 64, gelu, norm": (
        {"widths": [64, *[64] * 32, 10], "activation": "gelu", "norm": "layer"},
        1024,
    ),
    "64 x 256, relu": ({"widths": [64, *[256] * 64, 10]}, 512),
    "48 x 128, silu, norm, dropout, residual": (
        {
            "widths": [64, *[128] * 48, 10],
            "activation": "silu",
            "norm": "layer",
            "dropout": 0.1,
            "residual": True,
        },
        512,
    ),
    "24 of uneven widths, relu": ({"widths": [64, *[32, 256, 64, 512, 128, 64] * 4, 10]}, 256),
    "128 x 64, tanh": ({"widths": [64, *[64] * 128, 10], "activation": "tanh"}, 512),
}
FRACTIONS = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9)
"""Of the way from the smallest budget to the peak of "lean"."""

VARIANTS: Mapping[str, Mapping[tuple[Any, str], Any]] = {
    "as it is": {},
    "every frontier too": {(budget, "_SHORT"): 10**9},
    "no frontier": {(budget, "_SHORT"): 0},
    "no plans below": {(budget, "_BELOW"): 1, (budget, "_SHORT"): 0},
    "one plan improved": {(budget, "_IMPROVED"): 1, (budget, "_SHORT"): 0},
    "four rounds": {(budget, "_ROUNDS"): 4, (budget, "_SHORT"): 0},
    "chains of 256 stages": {(as_chain, "_LONGEST"): 256, (budget, "_SHORT"): 0},
    "chains of 64 stages": {(as_chain, "_LONGEST"): 64, (budget, "_SHORT"): 0},
    "no search": {(budget, "STATES"): 0, (budget, "_SHORT"): 0},
}
"""What is set otherwise, by module and name."""

CACHES = (
    *(budget.frontier, budget.smallest, budget.named, optimal.frontier_plans),
    *(optimal._persistent, grid.solve, as_chain.as_chain, least._choices, exact.choices),
    space.space_of,
)


@contextmanager
def changed(settings: Mapping[tuple[Any, str], Any]) -> Iterator[None]:
    before = {place: getattr(*place) for place in settings}
    for (module, name), value in settings.items():
        setattr(module, name, value)
    try:
        yield
    finally:
        for (module, name), value in before.items():
            setattr(module, name, value)


def fresh() -> None:
    for cache in CACHES:
        cache.cache_clear()


def steps() -> Iterator[tuple[str, Graph, int, int]]:
    """Network, its training step, the batch size, a budget."""
    for network, (options, batch) in NETWORKS.items():
        graph = differentiate(mp.MLP(**options).graph())
        lean = Priced.of(graph, batch, graph.operators).peak
        smallest = budget.smallest(graph, batch).peak
        for fraction in FRACTIONS:
            yield network, graph, batch, int(smallest + fraction * (lean - smallest))


def measured() -> pd.DataFrame:
    rows = []
    for network, graph, batch, room in steps():
        for variant, settings in VARIANTS.items():
            fresh()
            begin = time.process_time()
            with changed(settings):
                order = budget.within_budget(graph, room, batch)
            seconds = time.process_time() - begin
            found = Priced.of(graph, batch, order)
            assert found.peak <= room
            once = Priced.of(graph, batch, graph.operators).flops
            slowdown = found.flops / once
            rows.append((network, room, variant, found.peak, slowdown, seconds))
        print(network, room, file=sys.stderr)
    columns = ["network", "budget", "variant", "peak", "slowdown", "seconds"]
    return pd.DataFrame(rows, columns=columns)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """A row a variant: how often it is within 0.5 % of the best, how far at worst, its time."""
    best = table.groupby(["network", "budget"])["slowdown"].transform("min")
    above = table.assign(above=table["slowdown"] / best - 1)
    groups = above.groupby("variant", sort=False)
    return pd.DataFrame(
        {
            "within 0.5 %": groups["above"].apply(lambda a: f"{(a <= 0.005).sum()} of {len(a)}"),
            "worst": groups["above"].max().map("{:.2%}".format),
            "mean": groups["above"].mean().map("{:.3%}".format),
            "seconds in all": groups["seconds"].sum().map("{:.1f}".format),
        }
    )


def main(folder: str) -> None:
    where = Path(folder)
    where.mkdir(parents=True, exist_ok=True)
    table = measured()
    table.to_csv(where / "planner.csv", index=False)
    print(summary(table).to_string())


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "reports/planner")
