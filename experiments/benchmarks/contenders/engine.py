"""memprop's engine: one step of an MLP, lean unless asked otherwise, from an arena."""

import memprop as mp
from experiments.benchmarks.contenders import high_water
from experiments.benchmarks.contenders.problem import samples, widths
from experiments.benchmarks.contenders.serve import Step, median_seconds, serve, warmed
from experiments.benchmarks.effort import moment


def prepare(
    depth: int,
    width: int,
    batch: int,
    update: str | None = None,
    allocator: str = "arena",
    anew: bool = False,
) -> Step:
    """A step on fixed samples.

    ``anew`` prepares it in every run and drops it after, arena and all, but not the parameters and
    the optimizer's state.
    """
    x, y = samples(batch)
    model = mp.MLP(widths(depth, width))
    step = mp.Step(
        model,
        batch,
        "lean",
        optimizer=update,
        allocator=allocator,
        record=False,
        update=moment(update),
    )
    if anew:  # what is made here holds the state, and never runs: its arena has no page
        return lambda: step.with_batch(batch)(x, y)
    return warmed(lambda: step(x, y))


if __name__ == "__main__":
    serve(
        prepare,
        seconds=median_seconds,
        growth=high_water.growth_bytes,
        faults=high_water.page_faults,
    )
