"""The figures of a step that go into the log of a training."""

from memprop.traces.steps import StepSummary


def figures_of(step: StepSummary, before: StepSummary | None) -> dict[str, float]:
    """What is logged of a step, by name; all are bytes.

    Args:
        step: that was recorded.
        before: the one recorded before it, from whose end growth counts; from the beginning of
            the step itself if there is none.
    """
    start = step.live_before_bytes if before is None else before.live_bytes
    found = {
        "peak_bytes": step.peak_bytes,
        "live_bytes": step.live_bytes,
        "growth_bytes": step.live_bytes - start,
        "saved_bytes": step.saved_bytes,
    }
    found |= {f"peak_{name}_bytes": size for name, size in step.peak_by_category.items()}
    return {f"memory/{name}": float(value) for name, value in found.items()}
