"""Two sets of results, row by row: before and after a change, or two machines."""

from collections.abc import Callable
from typing import Final

import pandas as pd

from memprop.probes import WITNESSES
from memprop.sweep.axes import AXES
from memprop.units import format_bytes

SAME_EVERYWHERE: Final = ("predicted_peak", "ledger_peak", "saved_bytes")
"""Columns of bytes that should not change with the machine."""


def memory_columns() -> tuple[str, ...]:
    """The columns of bytes that are compared."""
    return (*SAME_EVERYWHERE, *(f"{witness}_peak" for witness in WITNESSES))


def compare(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """A row for each trial of either set; trials with the same axes share a row.

    Columns: the axes; ``in`` ("both", "first" or "second"); ``status_first`` and
    ``status_second``; for each column of :func:`memory_columns`, and for ``step_seconds``, its
    value in either and the second's less the first's, ``..._first ..._second ..._difference``; and
    ``step_ratio``, the second's step time over the first's.
    """
    memory = memory_columns()
    columns = ["status", *memory, "step_seconds"]
    once = [
        table.drop_duplicates(list(AXES), keep="last")[[*AXES, *columns]]
        for table in (first, second)
    ]
    both = once[0].merge(
        once[1], on=list(AXES), how="outer", suffixes=("_first", "_second"), indicator="in"
    )
    names = {"both": "both", "left_only": "first", "right_only": "second"}
    both["in"] = both["in"].map(names).astype("string")
    for name in (*memory, "step_seconds"):
        both[f"{name}_difference"] = both[f"{name}_second"] - both[f"{name}_first"]
    both["step_ratio"] = both["step_seconds_second"] / both["step_seconds_first"]
    kinds = [f"{name}_{which}" for name in columns for which in ("first", "second", "difference")]
    order = [*AXES, "in", *(kind for kind in kinds if kind in both), "step_ratio"]
    return both[order].sort_values(list(AXES), ignore_index=True, kind="stable")


def summarize(table: pd.DataFrame) -> list[str]:
    """What two sets of results differ in, in sentences with numbers."""
    both = table[table["in"] == "both"]
    lines = [_counted(table)]
    changed = both[both["status_first"] != both["status_second"]]
    if len(changed):
        lines.append(f"{len(changed)} trials ended otherwise in the second than in the first.")
    lines += [line for name in SAME_EVERYWHERE if (line := _bytes(both, name))]
    ratio = both["step_ratio"].dropna()
    if len(ratio):
        lines.append(
            f"A step of the second takes {ratio.median():.2f} times as long in the median "
            f"({ratio.min():.2f} to {ratio.max():.2f}, {len(ratio)} trials)."
        )
    return lines


def _counted(table: pd.DataFrame) -> str:
    counts = table["in"].value_counts()
    alone = [
        f"only in the {name}: {counts[name]}" for name in ("first", "second") if name in counts
    ]
    return "; ".join([f"Trials in both: {counts.get('both', 0)}", *alone]) + "."


def _bytes(both: pd.DataFrame, name: str) -> str:
    difference = both[f"{name}_difference"].dropna().astype("int64")
    if difference.empty:
        return ""
    differing = difference[difference != 0]
    if differing.empty:
        return f"{name}: the same in all {len(difference)} trials, to the byte."
    place = int(difference.abs().to_numpy().argmax())
    most = both[both[f"{name}_difference"].notna()].iloc[place]
    size = int(most[f"{name}_difference"])
    return (
        f"{name}: differs in {len(differing)} of {len(difference)} trials, most by "
        f"{'-' if size < 0 else '+'}{format_bytes(abs(size))} ({_where(most)})."
    )


def _where(row: pd.Series) -> str:
    return f"{row['mode']} {row['schedule']}, depth {row['depth']}, batch {row['batch']}"


def cells(table: pd.DataFrame, most: int = 40) -> pd.DataFrame:
    """The rows that differ in memory or in how they ended, as texts; the largest first."""
    both = table[table["in"] == "both"].copy()
    both["off"] = both["ledger_peak_difference"].abs().astype("float64").fillna(0)
    differ = (both["off"] > 0) | (both["status_first"] != both["status_second"])
    chosen = both[differ].sort_values("off", ascending=False, kind="stable").head(most)
    varying = [axis for axis in AXES if table[axis].nunique() > 1]
    return pd.DataFrame(
        {
            **{axis: chosen[axis].astype("string") for axis in varying},
            "first": _sizes(chosen, "first"),
            "second": _sizes(chosen, "second"),
            "difference": _texts(chosen["ledger_peak_difference"], "{:+,}".format).fillna("-"),
        }
    )


def _texts(sizes: pd.Series, written: Callable[[int], str]) -> pd.Series:
    return sizes.astype(object).map(written, na_action="ignore").astype("string")


def _sizes(rows: pd.DataFrame, which: str) -> pd.Series:
    """The ledger's peak, or how the trial ended."""
    return _texts(rows[f"ledger_peak_{which}"], format_bytes).fillna(rows[f"status_{which}"])
