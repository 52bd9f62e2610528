"""The pages of one step, and of two side by side."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict

import pandas as pd

from memprop.report import plots
from memprop.report.page.pictures import inlined
from memprop.report.page.render import render_page
from memprop.report.page.steps import Step, single_step
from memprop.report.pictures import Picture
from memprop.report.side_by_side import summarize
from memprop.terms import CATEGORIES
from memprop.traces.devices import rows_at_peaks
from memprop.traces.trace import Trace
from memprop.units import format_bytes


def step_page(title: str, trace: Trace, pictures: Iterable[Picture] = ()) -> str:
    """One file of HTML with all that happened in a step, and figures of its allocator."""
    return render_page(
        "step.html.j2",
        data={"steps": [asdict(step) for step in _on_each_device(title, trace)]},
        title=title,
        trace=trace,
        about=f"{format_bytes(trace.peak)} ({trace.peak:,} bytes) at the peak, at "
        f"{trace.peak_operator}; {format_bytes(trace.saved_bytes)} in {len(trace.saved)} "
        f"intermediates are kept for backward; {len(trace.events):,} events.",
        peak=_shares(trace),
        devices=rows_at_peaks(trace),
        allocator=list(_allocator(trace)),
        pictures=[inlined(picture) for picture in pictures],
    )


def _on_each_device(title: str, trace: Trace) -> Iterator[Step]:
    yield single_step(title, trace)
    for device in trace.devices[1:]:
        yield single_step(f"{title}, on {device}", trace.on(device))


def allocator_pictures(trace: Trace) -> list[Picture]:
    """Figures of what the allocator of a GPU does; none where no device has one."""
    if trace.requests is None:
        return []
    return [
        Picture(
            "reserved",
            "Bytes that the allocator has taken from the GPU, those of blocks in use, and those of "
            "the ledger.",
            plots.styled(lambda: plots.reserved(trace)),
        ),
        Picture(
            "segments",
            "The segments where most is reserved, the largest first; what lives in their blocks.",
            plots.styled(lambda: plots.segments(trace)),
        ),
    ]


def _allocator(trace: Trace) -> Iterator[tuple[str, str]]:
    """What the allocator of a GPU comes to, in words."""
    if trace.requests is None:
        return
    replay = trace.replay()
    at = int(replay.reserved.argmax())
    free = replay.reserved_peak - int(replay.allocated[at])
    sizes = {
        "peak reserved": replay.reserved_peak,
        "free in it then": free,
        "peak allocated": replay.allocated_peak,
        "kept by cuBLAS and cuDNN": trace.requests.kept_bytes,
        "estimated, of the peak": trace.guessed_bytes,
    }
    for name, size in sizes.items():
        yield name, f"{format_bytes(size)} ({size:,} bytes)"
    yield "kernels that nothing is known of", str(trace.about.get("unknown_kernels", "none"))


def _shares(trace: Trace) -> list[tuple[str, str, str, str]]:
    return [
        (name.replace("_", " "), format_bytes(size), f"{size:,}", f"{size / trace.peak:.1%}")
        for name, size in trace.peak_by_category().items()
    ]


def comparison_page(names: tuple[str, str], a: Trace, b: Trace, variables: pd.DataFrame) -> str:
    """One file of HTML with two steps side by side.

    Args:
        names: what the steps are called, of the files for example.
        a: the first step.
        b: the second.
        variables: by :func:`memprop.report.side_by_side.variables_side_by_side`.
    """
    steps = [single_step(name, trace) for name, trace in zip(names, (a, b), strict=True)]
    return render_page(
        "comparison.html.j2",
        data={
            "steps": [asdict(step) for step in steps],
            "top": max(a.peak, b.peak),
        },
        names=names,
        findings=summarize(a, b, variables),
        categories_compared=list(_categories(a, b)),
        variables=list(_cells(variables)),
        unchanged=int((variables["change"] == "same").sum()),
    )


def _categories(a: Trace, b: Trace) -> Iterator[tuple[str, ...]]:
    first, second = a.peak_by_category(), b.peak_by_category()
    rows = [(name.replace("_", " "), first[name], second[name]) for name in CATEGORIES]
    for name, in_a, in_b in [*rows, ("total", a.peak, b.peak)]:
        yield name, format_bytes(in_a), format_bytes(in_b), _signed(in_b - in_a)


def _cells(variables: pd.DataFrame) -> Iterator[tuple[str, ...]]:
    """The rows that differ, as texts."""
    for row in variables[variables["change"] != "same"].to_dict(orient="records"):
        yield (
            row["variable"],
            row["category"].replace("_", " "),
            row["change"],
            f"{row['a_bytes']:,}",
            f"{row['b_bytes']:,}",
            _signed(row["difference_bytes"]),
        )


def _signed(size: int) -> str:
    return f"{'-' if size < 0 else '+' if size else ''}{format_bytes(abs(size))}"
