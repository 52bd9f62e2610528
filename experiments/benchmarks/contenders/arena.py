"""The size of the arena against what must be live, and the pages that a second step touches."""

import memprop as mp
from experiments.benchmarks.contenders import high_water
from experiments.benchmarks.contenders.problem import samples, widths
from experiments.benchmarks.contenders.serve import serve
from experiments.benchmarks.effort import moment


def prepare(
    depth: int, width: int, batch: int, update: str | None = None, schedule: str = "lean"
) -> dict[str, int | None]:
    """Bytes of the arena, the largest bytes live in it, page faults of a second step."""
    x, y = samples(batch)
    model = mp.MLP(widths(depth, width))
    keeps = schedule == "textbook"  # gradients too, so they cannot be used up in backward
    how = {"schedule": schedule, "optimizer": update, "update": moment(None if keeps else update)}
    step = mp.Step(model, batch, allocator="arena", record=False, **how)
    step(x, y)
    trace = mp.simulate(model, batch, **how)
    return {
        "arena_bytes": step.arena_bytes,
        "live_bytes": trace.peak - trace.persistent_bytes,
        "faults": high_water.page_faults(lambda: step(x, y)),
    }


def found(measured: dict[str, int | None]) -> dict[str, int | None]:
    """What was measured."""
    return measured


if __name__ == "__main__":
    serve(prepare, found=found)
