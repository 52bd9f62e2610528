"""What a sweep found, in sentences with numbers."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from memprop.report.frames import (
    Fit,
    agreements,
    fit_claim,
    measured,
    series,
    training_against_inference,
)
from memprop.units import format_bytes


def findings(results: pd.DataFrame) -> list[str]:
    """The findings of a sweep, the plainest first; empty if nothing ran to the end."""
    return [
        *_ratios(results),
        *_proportionality(results),
        *_bends(results),
    ]


def agreement_findings(results: pd.DataFrame) -> list[str]:
    """How far the witnesses are from the ledger, and what did not run to the end."""
    return [*_witnesses(results), *_failures(results)]


def _ratios(results: pd.DataFrame) -> Iterator[str]:
    table = training_against_inference(results)
    for name, part in table.groupby("series", sort=False):
        by_ratio = part.sort_values("ratio", kind="stable")
        least, most = by_ratio.iloc[0], by_ratio.iloc[-1]
        if len(part) == 1:
            yield (
                f"Training with {name} needs {most['ratio']:.1f} times the memory of inference at "
                f"{_where(most)} ({_pair(most)})."
            )
            continue
        yield (
            f"Training with {name} needs {least['ratio']:.1f} to {most['ratio']:.1f} times the "
            f"memory of inference: least at {_where(least)} ({_pair(least)}), most at "
            f"{_where(most)} ({_pair(most)})."
        )


def _where(row: pd.Series) -> str:
    return f"depth {row['depth']}, batch {row['batch']}"


def _pair(row: pd.Series) -> str:
    return f"{format_bytes(row['train_bytes'])} against {format_bytes(row['inference_bytes'])}"


def _proportionality(results: pd.DataFrame) -> Iterator[str]:
    for name, table in series(results):
        fit = fit_claim(table["depth"], table["batch"], table["ledger_peak"])
        if fit is not None:
            holds = "holds" if abs(fit.residual_share) < 0.02 else "holds only roughly"
            yield (
                f'"Memory grows with the number of layers and with the batch size" {holds} with '
                f"{name} (least squares, R^2 = {fit.r_squared:.6f}): {_fitted(fit)}"
            )


def _fitted(fit: Fit) -> str:
    depth, batch = fit.residual_at
    return (
        f"peak = {fit.constant:,.0f} B {_term(fit.per_layer)} x depth {_term(fit.per_sample)} x "
        f"batch {_term(fit.per_layer_and_sample)} x depth x batch; the largest residual is "
        + (
            "below one byte."
            if abs(fit.largest_residual) < 1
            else f"{fit.largest_residual:,.0f} B ({fit.residual_share:+.1%} of the peak) at "
            f"depth {depth}, batch {batch}."
        )
    )


def _term(coefficient: float) -> str:
    return f"{'-' if coefficient < 0 else '+'} {abs(coefficient):,.0f} B"


def _bends(results: pd.DataFrame) -> Iterator[str]:
    """Where proportionality fails, and why: parameters, inputs, results written in place."""
    for name, table in series(results):
        fit = fit_claim(table["depth"], table["batch"], table["ledger_peak"])
        if fit is None or table["width"].nunique() > 1 or table["dtype"].nunique() > 1:
            continue
        if text := _growth(name, table):
            yield text
        yield _why(name, table, fit) + _moves(name, table)


def _growth(name: str, table: pd.DataFrame) -> str:
    """How much the peak grows along each axis at the ends of the other."""
    depths, batches = (sorted(int(v) for v in table[axis].unique()) for axis in ("depth", "batch"))
    peaks = table.set_index(["depth", "batch"])["ledger_peak"]
    peak = {
        (d, b): int(peaks.loc[(d, b)].max()) for d in depths for b in batches if (d, b) in peaks
    }
    (d0, d1), (b0, b1) = (depths[0], depths[-1]), (batches[0], batches[-1])
    if not all((d, b) in peak for d in (d0, d1) for b in (b0, b1)):
        return ""

    def times(to: tuple[int, int], start: tuple[int, int]) -> str:
        return f"{peak[to] / peak[start]:.1f} times"

    return (
        f"It is no plain proportion, though ({name}): {b1 / b0:g} times the batch ({b0} to {b1}) "
        f"takes {times((d0, b1), (d0, b0))} the memory at depth {d0} and "
        f"{times((d1, b1), (d1, b0))} at depth {d1}; {d1 / d0:g} times the depth takes "
        f"{times((d1, b0), (d0, b0))} at batch {b0} and {times((d1, b1), (d0, b1))} at batch {b1}."
    )


def _moves(name: str, table: pd.DataFrame) -> str:
    """The peak is the largest of several straight lines: where it passes from one to another."""
    deepest = table[table["depth"] == table["depth"].max()].sort_values("batch")
    places = list(zip(deepest["batch"], deepest["peak_operator"], strict=True))
    if len({operator for _, operator in places}) < 2:
        return ""
    text = ", ".join(f"{operator} at batch {batch}" for batch, operator in places)
    return (
        f" The peak also moves, which bends the line: at depth {deepest['depth'].iloc[0]} with "
        f"{name} it is at {text}. With few samples it comes late in backward, when the gradients "
        "of the parameters have piled up; with many it comes early, when all activations are alive."
    )


def _why(name: str, table: pd.DataFrame, fit: Fit) -> str:
    width = int(table["width"].iloc[0])
    itemsize = np.dtype(str(table["dtype"].iloc[0])).itemsize
    arrays = fit.per_layer_and_sample / (width * itemsize)
    weights = (width * width + width * bool(table["bias"].iloc[0])) * itemsize
    return (
        f"Why ({name}): parameters and their gradients do not grow with the batch, so a layer "
        f"costs {fit.per_layer:,.0f} B before the first sample (the weights of a hidden layer are "
        f"{weights:,} B); samples, labels and the output do not grow with depth, "
        f"{fit.per_sample:,.0f} B a sample; and of the four arrays of {width * itemsize:,} B per "
        f"sample that a hidden layer makes (z, h, dh, dz) {_share_alive(arrays)}."
    )


def _share_alive(arrays: float) -> str:
    if arrays > 3.99:
        return "all are alive at the peak"
    return f"{arrays:.2f} are alive at the peak: the rest is freed, or written over what has died"


def _witnesses(results: pd.DataFrame) -> Iterator[str]:
    found = {agreement.witness: agreement for agreement in agreements(results)}
    if not found:
        return
    prediction = found.pop("prediction")
    exact = "to the byte" if prediction.worst == 0 else f"to within {abs(prediction.worst):,} B"
    text = "; ".join(
        f"{name} differs by {a.median:+,.0f} B in the median and {a.worst:+,} B at worst"
        + (f", {a.broken} of {a.trials} trials beyond {a.bound}" if a.broken else "")
        for name, a in found.items()
    )
    others = f" Of the witnesses, {text}." if text else ""
    yield f"In all {prediction.trials} trials the prediction equals the ledger {exact}.{others}"


def _failures(results: pd.DataFrame) -> Iterator[str]:
    failed = len(results) - len(measured(results))
    if failed:
        kinds = results.loc[results["status"] != "ok", "status"].value_counts()
        text = ", ".join(f"{count} {status}" for status, count in kinds.items())
        yield f"{failed} of {len(results)} trials did not run to the end: {text}."
