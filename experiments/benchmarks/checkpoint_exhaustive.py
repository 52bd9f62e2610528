"""auto_checkpoint beside the best of all choices, on random small modules, at four budgets each.

A module has up to 12 units: operators that can run again, or several that write over one another's
results. Every subset of them is gone through, so that the cheapest one within a budget is known.
Beside it are the planner as it is, which tries every choice of such a module too, and the planner
with that switched off. Real steps of all plans say whether peaks, FLOPs and gradients are right.

Run: python -m experiments.benchmarks.checkpoint_exhaustive [--out reports/checkpoint_exhaustive]
"""

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import compress, count, product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from torch import nn

import memprop.torch as mpt
from experiments.benchmarks.checkpoint_curves import Flops
from experiments.benchmarks.random_graphs import Step, random_step
from memprop import format_bytes
from memprop.errors import InfeasibleBudget
from memprop.torch.checkpoint import planner
from memprop.torch.checkpoint.curves import Candidate
from memprop.torch.checkpoint.plan import CheckpointPlan
from memprop.torch.checkpoint.planning import Planning, planning
from memprop.torch.checkpoint.rehearsal import Rehearsal

MODULES = 80
SHARES = (0.75, 0.5, 0.25, 0.0)
MOST_UNITS = 12
RANDOM_CHOICES = 3
"""Choices of each module, drawn at random, whose real steps are held against the model too."""

Units = list[tuple[int, ...]]


def units_of(step: Rehearsal) -> Units:
    """What can run again, each by itself."""
    calls = (call.number for call in step.seen.calls if step.can_run_again[call.number])
    return list(dict.fromkeys(step.unit_of[call] for call in calls))


def every_choice(step: Rehearsal, units: Units) -> Iterator[Candidate]:
    """Each subset of the units, with what the model of a step says of it.

    Where a unit would run for nobody, the subset without it is the same choice.
    """
    for picked in product((False, True), repeat=len(units)):
        choice = {call: () for unit in compress(units, picked) for call in unit}
        outcome = step.of(choice)
        if all(outcome.runs.get(call) for call in choice):
            yield Candidate(choice, outcome)


@dataclass(frozen=True)
class AtBudget:
    """Plans for one budget; the planner's are missing where it says that there is none."""

    share: float
    budget: int
    best: CheckpointPlan
    planned: CheckpointPlan | None
    heuristic: CheckpointPlan | None


@dataclass(frozen=True)
class Planned:
    """What was found for one module."""

    units: int
    work: float
    plain_peak: int
    least_peak: int
    heuristic_least: int
    at: tuple[AtBudget, ...]
    others: tuple[CheckpointPlan, ...]


def plans_of(step: Step) -> Planned | None:
    """Plans at all budgets; ``None`` if there are too many choices, or none that needs less."""
    with planning(step.module, step.x, **step.options) as found:
        units = units_of(found.step)
        if len(units) > MOST_UNITS:
            return None
        every = list(every_choice(found.step, units))
        least, plain = min(one.outcome.peak for one in every), found.step.plain_peak
        if least == plain:
            return None
        budgets = {share: least + round(share * (plain - least)) for share in SHARES}
        drawn = np.random.default_rng(step.seed).choice(len(every), RANDOM_CHOICES, replace=False)
        return Planned(
            units=len(units),
            work=found.work,
            plain_peak=plain,
            least_peak=least,
            heuristic_least=heuristics_of(found).candidates.least.outcome.peak,
            at=tuple(at_budget(found, every, *told) for told in budgets.items()),
            others=tuple(as_plan(found, every[place]) for place in drawn),
        )


def at_budget(found: Planning, every: Iterable[Candidate], share: float, budget: int) -> AtBudget:
    fitting = (one for one in every if one.outcome.peak <= budget)
    best = min(fitting, key=lambda one: (one.outcome.cost, one.outcome.peak))
    heuristic = within(heuristics_of(found), budget)
    return AtBudget(share, budget, as_plan(found, best), within(found, budget), heuristic)


def heuristics_of(found: Planning) -> Planning:
    """The same planning, but without trying every choice of a small module."""
    alone = replace(found)  # with candidates of its own
    with patch.object(planner, "EVERY_CHOICE", 0):
        _ = alone.candidates
    return alone


def as_plan(found: Planning, candidate: Candidate) -> CheckpointPlan:
    return found.plan(candidate, candidate.outcome.peak)


def within(found: Planning, budget: int) -> CheckpointPlan | None:
    try:
        return found.within(budget)
    except InfeasibleBudget:
        return None


@dataclass(frozen=True)
class Real:
    """What a real step of a module did."""

    peak: int
    flops: int
    gradients: tuple[torch.Tensor, ...]


def real(step: Step, module: nn.Module) -> Real:
    torch.manual_seed(step.seed)
    step.module.zero_grad()
    with Flops() as counted:
        trace = mpt.trace(module, step.x, **step.options)
    gradients = [part.grad for part in step.module.parameters() if part.grad is not None]
    step.module.zero_grad()
    return Real(trace.peak, counted.count, tuple(gradients))


class Witness:
    """Real steps of plans beside one of the plain module; equal plans share one."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self._plain = real(step, step.module)
        if not all(one.isfinite().all() for one in self._plain.gradients):
            raise AssertionError(f"seed {step.seed}: numbers that say nothing")
        self._known: dict[str, dict[str, Any]] = {}

    def of(self, plan: CheckpointPlan) -> dict[str, Any]:
        """Whether the step of a plan is what the plan says, and the peak that it had."""
        key = str(plan.again)
        if key not in self._known:
            found, plain = real(self._step, plan.apply(self._step.module)), self._plain
            self._known[key] = {
                "traced_peak": found.peak,
                "traced_flops": found.flops - plain.flops,
                "same_bits": len(found.gradients) == len(plain.gradients)
                and all(map(torch.equal, found.gradients, plain.gradients)),
            }
        return self._known[key]


def rows_of(step: Step, found: Planned) -> Iterator[dict[str, Any]]:
    """A row for each plan."""
    witness = Witness(step)
    same = {
        "seed": step.seed,
        "graph": str(step.module),
        "operators": len(step.module.operators),
        "units": found.units,
        "work": int(found.work),
        "plain_peak": found.plain_peak,
        "least_peak": found.least_peak,
        "heuristic_least": found.heuristic_least,
    }
    for at in found.at:
        plans = {"exhaustive": at.best, "planner": at.planned, "heuristics": at.heuristic}
        for by, plan in plans.items():
            told = {**same, "by": by, "share": at.share, "budget": at.budget}
            told |= {"best_flops": at.best.recomputed_flops, "best_again": again_of(at.best)}
            yield {**told, **row_of(plan, witness)}
    for plan in found.others:
        yield {**same, "by": "random", **row_of(plan, witness)}


def row_of(plan: CheckpointPlan | None, witness: Witness) -> dict[str, Any]:
    if plan is None:
        return {}
    told = {"again": again_of(plan), "peak": plan.peak, "flops": plan.recomputed_flops}
    return {**told, **witness.of(plan)}


def again_of(plan: CheckpointPlan) -> str:
    """The operators that run again, each with which of its calls."""
    named = ((func.split(".")[1], places) for func, places in plan.again.items())
    return "; ".join(f"{name} {', '.join(map(str, places))}" for name, places in named)


def rows(modules: int) -> pd.DataFrame:
    """Rows of the first so many seeds whose modules are small enough, and can need less."""
    found: list[dict[str, Any]] = []
    done = 0
    for seed in count():
        step = random_step(seed)
        plans = plans_of(step)
        if plans is None:
            continue
        found += rows_of(step, plans)
        done += 1
        print(f"{done}: seed {seed}, {plans.units} units: {step.module}", flush=True)
        if done == modules:
            break
    return pd.DataFrame(found)


def with_gaps(table: pd.DataFrame) -> pd.DataFrame:
    """The planner's rows, with how much more its plans cost than the best choice, in percent."""
    found = table[table["by"].isin(["planner", "heuristics"])].copy()
    # A plan that is cheaper does not make up for one that is dearer.
    found["more"] = (found["flops"] - found["best_flops"]).clip(lower=0)
    found["step_gap"] = 100 * found["more"] / (found["work"] + found["best_flops"])
    # Over a best choice that computes nothing again there is no telling how many times as much.
    found["again_gap"] = 100 * found["more"] / found["best_flops"].where(found["best_flops"] > 0)
    return found


def summed_up(gaps: pd.DataFrame, by: str) -> str:
    """How much dearer plans are, a row for each planner and value of a column."""
    groups = gaps.sort_values(["by", by], ascending=[False, True]).groupby(["by", by], sort=False)
    told = [{"by": one, by: value, **_summed_up(part)} for (one, value), part in groups]
    return pd.DataFrame(told).to_string(index=False)


def _summed_up(gaps: pd.DataFrame) -> dict[str, Any]:
    found = gaps[gaps["flops"].notna()]
    step, again = found["step_gap"], found["again_gap"]
    return {
        "cases": len(gaps),
        "no_plan": len(gaps) - len(found),
        "over": int((found["traced_peak"] > found["budget"]).sum()),
        "as_good": int((found["flops"] <= found["best_flops"]).sum()),
        "step_mean": f"{step.mean():.2f} %",
        "step_worst": f"{step.max():.1f} %",
        "again_mean": f"{again.mean():,.1f} %",
        "again_median": f"{again.median():,.1f} %",
        "again_worst": f"{again.max():,.0f} %",
        "again_all": f"{100 * found['more'].sum() / found['best_flops'].sum():.1f} %",
    }


def confirmed(table: pd.DataFrame) -> pd.DataFrame:
    """How many plans did in a real step what was worked out for them."""
    ran = table[table["flops"].notna()]
    told = pd.DataFrame(
        {
            "by": ran["by"],
            "plans": 1,
            "same_peak": (ran["peak"] == ran["traced_peak"]).astype(int),
            "same_flops": (ran["flops"] == ran["traced_flops"]).astype(int),
            "same_bits": ran["same_bits"].astype(bool).astype(int),
        }
    )
    return told.groupby("by", sort=False).sum().reset_index()


def dearest(gaps: pd.DataFrame, most: int = 8) -> str:
    """The dearest plans of the heuristics beside the best choice, each with its graph."""
    alone = gaps[(gaps["by"] == "heuristics") & (gaps["step_gap"] > 0)]
    return "\n".join(map(_told, alone.nlargest(most, "step_gap").to_dict("records")))


def _told(one: dict[Any, Any]) -> str:
    return f"""seed {one["seed"]} at {one["share"]}, {format_bytes(int(one["budget"]))}: \
{one["flops"] / 1e6:,.2f} MFLOPs again, at best {one["best_flops"] / 1e6:,.2f}; \
a step {one["step_gap"]:.1f} % dearer
  graph: {one["graph"]}
  again: {one["again"]}
  best:  {one["best_again"]}"""


def report(table: pd.DataFrame) -> str:
    gaps = with_gaps(table)
    alone, modules = gaps[gaps["by"] == "heuristics"], table.drop_duplicates("seed")
    ran = gaps[gaps["flops"].notna()]
    over = int((ran["traced_peak"] > ran["budget"]).sum())
    none_again = int((alone["best_flops"] == 0).sum())
    above = 100 * (modules["heuristic_least"] / modules["least_peak"] - 1)
    return f"""# auto_checkpoint beside the best of all choices

{len(modules)} random modules of {modules["units"].min()} to {modules["units"].max()} units at \
{len(SHARES)} budgets each; PyTorch {torch.__version__} on the CPU,
float32, costs in FLOPs. Written by
`python -m experiments.benchmarks.checkpoint_exhaustive --out reports/checkpoint_exhaustive`.

- The planner as it is: {headline(gaps[gaps["by"] == "planner"])}
- Its heuristics alone: {headline(alone)}
- Over budget, as traced in real steps: {over} of {len(ran)} plans.
- The least peak that the heuristics alone know is {above.mean():.1f} % above that of all choices in
  the mean, {above.max():.1f} % at worst, and the same for {int((above <= 0).sum())} modules.

A unit is an operator that can run again, or several that write over one another's results. The best
choice is the cheapest of all 2^n subsets of a module's n units whose peak is within the budget.
The planner tries every subset of up to {planner.EVERY_CHOICE} units too, so that its own line says
only that nothing is lost on the way to a plan. The heuristics alone are the same planner with that
switched off, which is how it plans for modules of 13 to 64 units. Both may also run units in
groups, whose values are let go of and computed once more. Such choices are not among the 2^n, so
that a plan can be cheaper than the best of these. It counts as one that costs as much.

Modules are drawn: 4 to 10 linear layers, pointwise operators, norms, softmax, dropout, sums,
products, concatenations and batched matrix products, each of any earlier values, and a last layer
for what none of them reads. Those of more than {MOST_UNITS} units are left out, and those whose
peak no choice lowers: seeds 0 to {table["seed"].max()} were drawn. Budgets lie between the least
peak of all choices (`share` 0) and the plain step's peak (1).

## How much dearer plans are

```text
{summed_up(gaps, "share")}
```

```text
{summed_up(alone, "units")}
```

- `no_plan`: cases in which the planner says that no plan keeps to the budget, though a choice does.
  They have no cost, so that they count in no column to the right.
- `over`: plans whose real step needs more than the budget.
- `as_good`: plans that cost no more than the best choice.
- `step_mean`, `step_worst`: by how much a whole step (forward, loss, backward and what runs again)
  has more FLOPs than with the best choice.
- `again_mean`, `again_median`, `again_worst`: the same of only what runs again; `again_all`: of the
  sums of all cases. Where the best choice runs an activation again, a plan that runs a matrix
  product has a hundred times as much, and the mean shows little else. Over a best choice that runs
  nothing again there is no such number; it would be left out, and that is so in {none_again} cases.

## What real steps say

The search and the planner share one model of what a choice comes to. Real steps do not: each plan
is carried out and traced by `mpt.trace`, its FLOPs are counted call by call beside those of the
plain step, and its gradients compared with the plain module's by `torch.equal`. Equal plans of one
module share a step. `exhaustive` is the best choice at each budget, `random` are {RANDOM_CHOICES}
choices of each module.

```text
{confirmed(table).to_string(index=False)}
```

## The dearest plans of the heuristics

`again` and `best` are the calls that run again, counted from 0 for each operator. In a graph, 0 is
the input, and the last layer is left out.

```text
{dearest(gaps)}
```
"""


def headline(gaps: pd.DataFrame) -> str:
    found = gaps[gaps["flops"].notna()]
    step, again = found["step_gap"], found["again_gap"]
    cheaper = int((found["flops"] < found["best_flops"]).sum())
    return f"""a plan in {len(found)} of {len(gaps)} cases, {cheaper} cheaper than the best choice.
  A step has {step.mean():.2f} % more FLOPs than with the best choice in the mean,
  {step.max():.1f} % at worst; what runs again has {again.mean():,.1f} % more in the mean,
  {again.median():,.1f} % in the median and {again.max():,.0f} % at worst."""


def main() -> None:
    parser = argparse.ArgumentParser(description="auto_checkpoint beside the best of all choices")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--modules", type=int, default=MODULES)
    asked = parser.parse_args()
    table = rows(asked.modules)
    text = report(table)
    print(text)
    if asked.out is not None:
        asked.out.mkdir(parents=True, exist_ok=True)
        table.to_csv(asked.out / "results.csv", index=False)
        (asked.out / "README.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
