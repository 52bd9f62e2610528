"""The results of a sweep as one table: a row for each trial, the same columns always."""

import os
from collections.abc import Iterable
from dataclasses import MISSING
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from memprop.errors import DataError
from memprop.files import make_folder, whole_file
from memprop.probes import WITNESSES
from memprop.sweep.axes import TABLE
from memprop.sweep.store import FILE, stored_rows
from memprop.terms import CATEGORIES

if TYPE_CHECKING:
    from pandas import DataFrame

CSV: Final = "results.csv"
PARQUET: Final = "results.parquet"


def column_types() -> dict[str, str]:
    """Column -> type, of all columns in their order; columns that a trial adds come after them.

    A trial that failed has no bytes, and 2^53 bytes and more must stay exact, so integers that may
    be missing are pandas' nullable ones.
    """
    peaks = (
        *("predicted_peak", "ledger_peak"),
        *(f"{witness}_peak" for witness in WITNESSES),
        *(f"peak_{category}" for category in CATEGORIES),
    )
    return {
        **{axis.name: axis.column for axis in TABLE},
        "status": "string",
        "message": "string",
        **dict.fromkeys(peaks, "Int64"),
        "peak_operator": "string",
        "saved_bytes": "Int64",
        "saved_count": "Int64",
        "persistent_bytes": "Int64",
        "flops": "Int64",
        "recomputed_flops": "Int64",
        "step_seconds": "float64",
        "seed": "Int64",
        "host": "string",
        "started": "string",
        "seconds": "float64",
    }


_LATER_AXES: Final = MappingProxyType(
    {axis.name: axis.default for axis in TABLE if axis.default is not MISSING}
)
"""Axes that results of earlier versions may lack, with the value they had."""
_LATER_CATEGORIES: Final = ("peak_buffer", "peak_communication")
"""Columns that they may lack, which are zero where that version knew all bytes."""


def load_results(folder: str | os.PathLike[str]) -> "DataFrame":
    """The results of the sweep in ``folder``, a row for each trial.

    ``trials.sqlite`` is what is read if it is there, for it is complete while the sweep still
    runs; otherwise ``results.parquet``.

    Raises:
        DataError: there are no results, or they are damaged.
        OutputError: the store cannot be opened.
    """
    folder = Path(folder)
    if (folder / FILE).is_file():
        rows = stored_rows(folder)
        if not rows:
            raise DataError(f"{folder / FILE} holds no results yet: run `memprop sweep` to the end")
        try:
            return frame(rows)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(f"{folder / FILE} is damaged: {error}; use --fresh") from None
    if (folder / PARQUET).is_file():
        return _read_parquet(folder / PARQUET)
    raise DataError(
        f"no results in {folder}: expected {FILE} or {PARQUET}; "
        f"make them with `memprop sweep SPEC --out {folder}`"
    )


def frame(rows: Iterable[dict[str, Any]]) -> "DataFrame":
    """Rows of results as a table with all of :func:`column_types`, in order and typed."""
    import pandas as pd

    # As objects at first: a column of integers with a gap would become floats, exact to 2^53 only.
    return tidy(pd.DataFrame(list(rows), dtype=object))


def write_results(frame: "DataFrame", folder: str | os.PathLike[str]) -> None:
    """Write ``results.csv`` and ``results.parquet``; each is the old or the new one, never half.

    Raises:
        OutputError: the folder cannot be written.
    """
    folder = Path(folder)
    make_folder(folder)
    with whole_file(folder / CSV) as file:
        frame.to_csv(file, index=False, mode="wb")
    with whole_file(folder / PARQUET) as file:
        frame.to_parquet(file, index=False)


def _read_parquet(path: Path) -> "DataFrame":
    import pandas as pd

    try:
        return tidy(pd.read_parquet(path))
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        raise DataError(f"{path} cannot be read: {error}") from None


def tidy(table: "DataFrame") -> "DataFrame":
    """``table`` with all of :func:`column_types`, in order and typed; what it lacks is missing."""
    table = table.assign(**{n: v for n, v in _LATER_AXES.items() if n not in table.columns})
    if "peak_parameter" in table.columns:
        # Results of versions that had no such category, of models that have nothing of it.
        none = table["peak_parameter"].mask(table["peak_parameter"].notna(), 0)
        table = table.assign(**{n: none for n in _LATER_CATEGORIES if n not in table.columns})
    types = column_types()
    added = [column for column in table.columns if column not in types]
    return table.reindex(columns=[*types, *added]).astype(types).infer_objects()
