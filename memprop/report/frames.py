"""Tables made from the results of a sweep: what the report shows, and what it says in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from memprop.probes import WITNESSES, Bound
from memprop.sweep.axes import TABLE
from memprop.sweep.examples import as_if_measured as as_if_measured
from memprop.sweep.examples import measured as measured

AXES: Final = tuple(
    axis.name for axis in TABLE if axis.name not in ("depth", "batch", "mode", "schedule")
)
"""The axes other than depth, batch and schedule that distinguish two training series."""

INFERENCE_AXES: Final = ("width", *(axis.name for axis in TABLE if axis.inference))
"""What of that the forward pass depends on."""


def series(results: pd.DataFrame, mode: str = "train") -> list[tuple[str, pd.DataFrame]]:
    """The trials of a mode by schedule and by the other axes that vary; each series with a name.

    Within a series depth and batch say which trial it is.
    """
    ok = measured(results)
    trials = ok[ok["mode"] == mode]
    axes = AXES if mode == "train" else INFERENCE_AXES
    varying = ["schedule", *(axis for axis in axes if trials[axis].nunique() > 1)]
    return [
        (
            _series_name(varying, values),
            table.drop_duplicates(["depth", "batch"]).reset_index(drop=True),
        )
        for values, table in trials.groupby(varying, sort=False)
    ]


def _series_name(axes: Sequence[str], values: object) -> str:
    schedule, *rest = values if isinstance(values, tuple) else (values,)
    others = (f"{axis} {value}" for axis, value in zip(axes[1:], rest, strict=True))
    return ", ".join([str(schedule), *others])


def inference_of(results: pd.DataFrame, train: pd.DataFrame) -> pd.DataFrame:
    """The inference trials of the networks of one training series."""
    ok = measured(results)
    inference = ok[ok["mode"] == "inference"]
    for axis in INFERENCE_AXES:
        inference = inference[inference[axis].isin(train[axis].unique().tolist())]
    return inference.drop_duplicates(["depth", "batch"])


def training_against_inference(results: pd.DataFrame) -> pd.DataFrame:
    """A row for each training trial for which there is an inference trial.

    Columns: ``series``, ``depth``, ``batch``, ``train_bytes`` and ``inference_bytes`` (ledger
    peaks), and their ``ratio``.
    """
    parts = []
    for name, train in series(results):
        beside = inference_of(results, train)[["depth", "batch", "ledger_peak"]]
        joined = train.merge(beside, on=["depth", "batch"], suffixes=("", "_inference"))
        part = joined[["depth", "batch"]].copy()
        part.insert(0, "series", name)
        part["train_bytes"] = joined["ledger_peak"].astype("int64")
        part["inference_bytes"] = joined["ledger_peak_inference"].astype("int64")
        part["ratio"] = part["train_bytes"] / part["inference_bytes"]
        parts.append(part.sort_values(["depth", "batch"]))
    columns = ["series", "depth", "batch", "train_bytes", "inference_bytes", "ratio"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


@dataclass(frozen=True)
class Fit:
    """Least squares of a peak on 1, depth, batch and depth x batch.

    Attributes:
        constant: bytes whatever depth and batch are.
        per_layer: bytes that each further hidden layer adds.
        per_sample: bytes that each further sample adds.
        per_layer_and_sample: bytes that each sample adds in each hidden layer.
        r_squared: the share of the variance that the fit explains.
        largest_residual: measured less fitted bytes, where that is furthest from 0.
        residual_at: depth and batch of the largest residual.
        residual_share: the largest residual as a share of the peak measured there.
    """

    constant: float
    per_layer: float
    per_sample: float
    per_layer_and_sample: float
    r_squared: float
    largest_residual: float
    residual_at: tuple[int, int]
    residual_share: float


def fit_claim(depth: pd.Series, batch: pd.Series, peak: pd.Series) -> Fit | None:
    """How well "proportional to layers and batch size" holds; ``None`` with too few points.

    Args:
        depth: hidden layers of each trial.
        batch: samples per step of each trial.
        peak: measured peak of each trial in bytes.
    """
    if depth.nunique() < 2 or batch.nunique() < 2 or len(peak) < 5:
        return None
    d, b, y = (np.asarray(column, dtype=np.float64) for column in (depth, batch, peak))
    design = np.column_stack([np.ones_like(d), d, b, d * b])
    coefficients, *_ = np.linalg.lstsq(design, y, rcond=None)
    residuals = y - design @ coefficients
    worst = int(np.argmax(np.abs(residuals)))
    variance = float(((y - y.mean()) ** 2).sum())
    return Fit(
        *(float(c) for c in coefficients),
        r_squared=1 - float((residuals**2).sum()) / variance,
        largest_residual=float(residuals[worst]),
        residual_at=(int(d[worst]), int(b[worst])),
        residual_share=float(residuals[worst] / y[worst]),
    )


@dataclass(frozen=True)
class Agreement:
    """How far a witness is from the ledger, over all trials of a sweep.

    Attributes:
        witness: its name; "prediction" for the simulated peak.
        trials: how many it could measure.
        median: the median difference from the ledger in bytes.
        worst: the difference furthest from 0, in bytes.
        worst_share: the largest difference as a share of its ledger peak.
        bound: what it should keep to, in words; "" where nothing is promised.
        broken: how many trials break that bound.
    """

    witness: str
    trials: int
    median: float
    worst: int
    worst_share: float
    bound: str
    broken: int


_PREDICTION: Final = Bound("0 bytes", np.zeros_like)


def bounds() -> dict[str, Bound]:
    """What is promised of the prediction, and of witnesses; those that sample promise nothing."""
    promised = {name: witness.bound for name, witness in WITNESSES.items() if witness.bound}
    return {"prediction": _PREDICTION, **promised}


def growth_of(results: pd.DataFrame) -> np.ndarray:
    """Bytes that each trial's step needs beyond parameters and optimizer state, by the ledger."""
    ok = measured(results)
    return (ok["ledger_peak"] - ok["persistent_bytes"]).to_numpy(dtype=np.float64)


def beyond(results: pd.DataFrame) -> pd.DataFrame:
    """For each trial that ran and each witness of which something is promised: is it broken?"""
    found, growth = differences(results), growth_of(results)
    return pd.DataFrame(
        {
            name: found[name].abs().gt(bound.bytes_of(growth)).fillna(value=False).astype(bool)
            for name, bound in bounds().items()
            if name in found
        }
    )


def differences(results: pd.DataFrame) -> pd.DataFrame:
    """What each witness says less what the ledger says, in bytes; a column for each witness."""
    ok = measured(results)
    found = {"prediction": ok["predicted_peak"] - ok["ledger_peak"]}
    for name in WITNESSES:
        if ok[f"{name}_peak"].notna().any():
            found[name] = ok[f"{name}_peak"] - ok["ledger_peak"]
    return pd.DataFrame(found)


def agreements(results: pd.DataFrame) -> list[Agreement]:
    """The agreement of every witness that measured anything."""
    ok = measured(results)
    if ok.empty:
        return []
    marks, promised, found = beyond(results), bounds(), []
    for name, column in differences(results).items():
        difference = column.dropna().astype("int64")
        share = (difference.abs() / ok["ledger_peak"][difference.index].astype("float64")).max()
        found.append(
            Agreement(
                witness=str(name),
                trials=len(difference),
                median=float(difference.median()),
                worst=int(difference.iloc[int(np.argmax(difference.abs()))]),
                worst_share=float(share),
                bound=promised[str(name)].text if name in promised else "",
                broken=int(marks[name].sum()) if name in marks else 0,
            )
        )
    return found


_MOST_SERIES: Final = 12
"""More cannot be distinguished in a figure; a table for each would be a long read."""


def are_few(results: pd.DataFrame) -> bool:
    """Whether the training trials are few enough series to show one by one."""
    return len(series(results)) <= _MOST_SERIES


def shown_in_series(results: pd.DataFrame) -> pd.DataFrame:
    """The results, or none of them where the series are too many."""
    return results if are_few(results) else results.head(0)
