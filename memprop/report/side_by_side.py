"""Two steps side by side: what is larger at the peak of the one than at that of the other."""

from typing import Final

import pandas as pd

from memprop.traces.trace import Trace
from memprop.units import format_bytes

COLUMNS: Final = (
    *("variable", "category", "layer", "a_size", "b_size", "a_bytes", "b_bytes"),
    *("difference_bytes", "change"),
)


def variables_side_by_side(a: Trace, b: Trace) -> pd.DataFrame:
    """A row for each variable of either step, matched by name; the largest change first.

    Columns: ``variable``; its ``category`` and ``layer``; ``a_size`` and ``b_size``, its own bytes
    (missing where a step has none of that name); ``a_bytes`` and ``b_bytes``, what it holds at the
    peak of either step, which sum to the peaks; ``difference_bytes``, b less a; ``change``: "grew",
    "shrank", "new" (held at the peak of b only), "gone" (of a only) or "same".
    """
    joined = _held(a).merge(_held(b), on="variable", how="outer", suffixes=("_a", "_b"))
    held_a, held_b = (joined[f"held_{which}"].fillna(0).astype("int64") for which in "ab")
    table = pd.DataFrame(
        {
            "variable": joined["variable"],
            "category": joined["category_b"].fillna(joined["category_a"]),
            "layer": joined["layer_b"].fillna(joined["layer_a"]),
            "a_size": joined["size_a"],
            "b_size": joined["size_b"],
            "a_bytes": held_a,
            "b_bytes": held_b,
            "difference_bytes": held_b - held_a,
        }
    )
    table["change"] = [_change(*pair) for pair in zip(held_a, held_b, strict=True)]
    order = table["difference_bytes"].abs().sort_values(ascending=False, kind="stable").index
    return table.loc[order].reset_index(drop=True)


def _held(trace: Trace) -> pd.DataFrame:
    held = {buffer.variable: buffer.bytes for buffer in trace.buffers_at(trace.peak_event)}
    rows = [
        (variable.name, variable.category, variable.layer, variable.bytes, held.get(number, 0))
        for number, variable in enumerate(trace.variables)
    ]
    table = pd.DataFrame(rows, columns=["variable", "category", "layer", "size", "held"])
    return table.astype({"variable": "object", "layer": "Int64", "size": "Int64", "held": "Int64"})


def _change(a_bytes: int, b_bytes: int) -> str:
    if a_bytes == b_bytes:
        return "same"
    if not a_bytes or not b_bytes:
        return "gone" if a_bytes else "new"
    return "grew" if b_bytes > a_bytes else "shrank"


def summarize(a: Trace, b: Trace, table: pd.DataFrame) -> list[str]:
    """What two steps differ in, in sentences with numbers."""
    off = b.peak - a.peak
    if off:
        more = "more" if off > 0 else "less"
        first = (
            f"The second step needs {format_bytes(abs(off))} {more} at its peak: "
            f"{format_bytes(b.peak)} at {b.peak_operator} against {format_bytes(a.peak)} at "
            f"{a.peak_operator} ({off / a.peak:+.1%})."
        )
    else:
        first = f"Both steps need {format_bytes(a.peak)} at their peak, to the byte."
    return [first, *_counted(table)]


def _counted(table: pd.DataFrame) -> list[str]:
    lines = []
    for change in ("new", "grew", "gone", "shrank"):
        part = table[table["change"] == change]
        if len(part):
            total = int(part["difference_bytes"].sum())
            sign = "-" if total < 0 else "+"
            most = ", ".join(part["variable"].head(3))
            lines.append(
                f"{change}: {len(part)} variables at the peak, {sign}{format_bytes(abs(total))} "
                f"(most: {most})."
            )
    return lines
