"""Memory against recomputation in a sweep: what each schedule saves, and what that costs."""

from collections.abc import Iterator
from typing import Final

import pandas as pd

from memprop.report.frames import AXES, measured
from memprop.units import format_bytes

COLUMNS: Final = (
    *("depth", "batch", "schedule", "peak_bytes", "peak_share", "recomputed_share"),
    *("predicted_slowdown", "measured_slowdown"),
)

BASELINE: Final = "lean"
"""The schedule that the others are compared with: it computes nothing twice."""


def tradeoffs(results: pd.DataFrame) -> pd.DataFrame:
    """A row for each training trial of a network of which some schedule computes again.

    Columns: ``depth``, ``batch``, ``schedule``, ``peak_bytes`` (of the ledger), ``peak_share`` (of
    that of lean), ``recomputed_share`` (FLOPs that are done again, of those of lean),
    ``predicted_slowdown`` (all FLOPs, of those of lean), ``measured_slowdown`` (the time of a step,
    of that of lean), and the axes that the networks differ in.
    """
    ok = measured(results)
    train = ok[ok["mode"] == "train"].drop_duplicates(["depth", "batch", "schedule", *AXES])
    varying = [axis for axis in AXES if train[axis].nunique() > 1]
    parts = [
        _against_lean(network)
        for _, network in train.groupby(["depth", "batch", *AXES], sort=True)
        if (network["schedule"] == BASELINE).any() and (network["recomputed_flops"] > 0).any()
    ]
    columns = [*COLUMNS, *varying]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def _against_lean(network: pd.DataFrame) -> pd.DataFrame:
    lean = network[network["schedule"] == BASELINE].iloc[0]
    made = network[["depth", "batch", "schedule", *AXES]].copy()
    made["peak_bytes"] = network["ledger_peak"].astype("int64")
    made["peak_share"] = made["peak_bytes"] / int(lean["ledger_peak"])
    flops = network[["flops", "recomputed_flops"]].astype("float64")
    made["recomputed_share"] = flops["recomputed_flops"] / float(lean["flops"])
    made["predicted_slowdown"] = flops["flops"] / float(lean["flops"])
    made["measured_slowdown"] = network["step_seconds"] / lean["step_seconds"]
    return made.sort_values("peak_bytes", ascending=False, kind="stable")


def cells(table: pd.DataFrame) -> pd.DataFrame:
    """The trade-offs as texts, as they are to be read."""
    added = [column for column in table.columns if column not in COLUMNS]
    return pd.DataFrame(
        {
            "schedule": table["schedule"],
            "depth": table["depth"].astype("string"),
            "batch": table["batch"].astype("string"),
            **{axis: table[axis].astype("string") for axis in added},
            "peak": table["peak_bytes"].map(format_bytes),
            "of lean's": table["peak_share"].map("{:.0%}".format),
            "FLOPs again": table["recomputed_share"].map("{:.1%}".format),
            "predicted slow-down": table["predicted_slowdown"].map("{:.3f}".format),
            "measured slow-down": table["measured_slowdown"].map("{:.3f}".format),
        }
    )


def summarize(table: pd.DataFrame) -> Iterator[str]:
    """What the trade-offs come to, in sentences with numbers."""
    again = table[table["recomputed_share"] > 0]
    if again.empty:
        return
    least = again.sort_values("peak_share", kind="stable").iloc[0]
    yield (
        f"Computing again what was not kept saves most at depth {least['depth']}, batch "
        f"{least['batch']}: {least['schedule']} needs {least['peak_share']:.0%} of the memory of "
        f"lean ({format_bytes(least['peak_bytes'])}) for {least['predicted_slowdown']:.2f} times "
        f"the FLOPs{_took(least)}."
    )
    if (again["schedule"] == "sqrt").any():
        root = again[again["schedule"] == "sqrt"].sort_values(["depth", "batch"]).iloc[-1]
        yield (
            f"sqrt at depth {root['depth']}, batch {root['batch']} needs {root['peak_share']:.0%} "
            f"of the memory of lean ({format_bytes(root['peak_bytes'])}) for "
            f"{root['predicted_slowdown']:.2f} times the FLOPs{_took(root)}."
        )
    timed = again.dropna(subset=["measured_slowdown"])
    if not timed.empty:
        off = timed["measured_slowdown"] / timed["predicted_slowdown"] - 1
        place = int(off.abs().to_numpy().argmax())
        worst = timed.iloc[place]
        yield (
            f"In the {len(timed)} trials that compute again, the measured slow-down differs from "
            f"that of the FLOPs by {off.median():+.1%} in the median and {off.iloc[place]:+.1%} at "
            f"worst ({worst['schedule']} at depth {worst['depth']}, batch {worst['batch']})."
        )


def _took(row: pd.Series) -> str:
    slowdown = row["measured_slowdown"]
    return "" if pd.isna(slowdown) else f", and took {slowdown:.2f} times as long"
