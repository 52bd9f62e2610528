"""Reading data files; nothing is ever unpickled."""

import os
import zipfile
import zlib
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np

from memprop.data.dataset import Dataset
from memprop.errors import DataError, InvalidTypeError

if TYPE_CHECKING:
    import pandas as pd

Arrays = tuple[np.ndarray, np.ndarray]

# What the readers raise for files with a few bytes changed, found by changing them at random:
# a zip of an unknown version or with a password, column types that pyarrow or pandas do not know.
_DAMAGE: Final = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    TypeError,
    RuntimeError,
    OverflowError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
)


def load_data(source: str | os.PathLike[str]) -> Dataset:
    """The bundled ``"digits"``, or the file at a path.

    ``.npz`` holds the arrays ``X`` (samples, features) and ``y`` (samples,); in ``.csv`` and
    ``.parquet`` the last column is the label. A first line of a csv that holds no numbers is taken
    as names. Labels are integers from 0.

    Raises:
        DataError: the file is missing, damaged, pickled, or cannot be learned from; the message
            says where and what to do.
    """
    if not isinstance(source, str | os.PathLike):
        raise InvalidTypeError(f"data must be 'digits' or a path, got {source!r}")
    if source == "digits":
        return load_digits()
    path = Path(source)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        known = ", ".join(_READERS)
        raise DataError(f"{path}: unknown kind of data: expected 'digits' or a file in {known}")
    if not path.is_file():
        what = "this is a folder" if path.is_dir() else "there is no such file"
        raise DataError(f"{path}: {what}, expected a data file")
    try:
        x, y = reader(path)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except PermissionError as error:
        raise DataError(f"{path}: the file cannot be read: {error.strerror}") from None
    except _DAMAGE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: the file is damaged or of another kind: {reason}") from None
    return _dataset(path, x, y)


def load_digits() -> Dataset:
    """The bundled 1,797 handwritten digits, 8 x 8 pixels scaled to between 0 and 1.

    Source: UCI Optical Recognition of Handwritten Digits, CC BY 4.0; see DIGITS-LICENSE.md.
    """
    with files("memprop.data").joinpath("digits.npz").open("rb") as file:
        arrays = np.load(file, allow_pickle=False)
        x, y = arrays["X"], arrays["y"]
    return Dataset("digits", x.astype(np.float32) / 16, y.astype(np.int64))


def _read_npz(path: Path) -> Arrays:
    with path.open("rb") as file:  # NumPy would leave a file open that it cannot read
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise DataError("expected an archive with the arrays X and y, as np.savez writes it")
        names = {name.lower(): name for name in archive.files}
        for name in ("x", "y"):
            if name not in names:
                held = ", ".join(archive.files) or "nothing"
                raise DataError(f"expected the arrays X and y, found {held}")
        return _member(archive, names["x"]), _member(archive, names["y"])


def _member(archive: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    try:
        return archive[name]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise DataError(
            f"{name} holds Python objects, which are pickled and therefore not read: "
            "save numbers instead"
        ) from None


def _read_csv(path: Path) -> Arrays:
    import pandas as pd

    try:
        table = pd.read_csv(path, header=None, skip_blank_lines=True, low_memory=False)
    except pd.errors.EmptyDataError:
        raise DataError("the file is empty: expected one sample per line") from None
    except UnicodeDecodeError as error:
        raise DataError(f"expected text in UTF-8, but byte {error.start} is no such") from None
    first = pd.Series(pd.to_numeric(table.iloc[0], errors="coerce"))
    if first.isna().all():  # the first line names the columns
        names = [str(name) for name in table.iloc[0]]
        table = table.iloc[1:].reset_index(drop=True)
        table.columns = pd.Index(names)
    return _columns(table)


def _read_parquet(path: Path) -> Arrays:
    import pandas as pd

    return _columns(pd.read_parquet(path))


def _columns(table: "pd.DataFrame") -> Arrays:
    """All columns but the last as samples, the last one as labels."""
    import pandas as pd

    if table.shape[1] < 2:
        raise DataError(
            "expected features and a last column of labels, separated by commas, got one column"
        )
    numbers = {}
    for place, name in enumerate(table.columns):
        given = table.iloc[:, place]
        if given.dtype.kind in "mM":
            raise DataError(f"column {name!r}: expected numbers, got dates or times")
        column = pd.Series(pd.to_numeric(given, errors="coerce"), dtype="float64")
        wrong = column.isna() & given.notna()
        if wrong.any():
            row = int(np.argmax(wrong))
            value = given.iloc[row]
            raise DataError(f"column {name!r}, sample {row}: expected a number, got {value!r}")
        numbers[place] = column.to_numpy()
    *features, labels = numbers.values()
    return np.column_stack(features), labels


_READERS: Final[Mapping[str, Callable[[Path], Arrays]]] = MappingProxyType(
    {".npz": _read_npz, ".csv": _read_csv, ".parquet": _read_parquet}
)


def _dataset(path: Path, x: np.ndarray, y: np.ndarray) -> Dataset:
    try:
        return Dataset(path.stem, _samples(x), _labels(y, len(x)))
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _samples(x: np.ndarray) -> np.ndarray:
    if x.dtype.kind not in "biuf":
        raise DataError(f"X must hold real numbers, got the dtype {x.dtype}")
    if x.ndim != 2:
        raise DataError(f"X must have the shape (samples, features), got {x.shape}")
    if 0 in x.shape:
        raise DataError(f"X is empty, its shape is {x.shape}: there is nothing to learn from")
    with np.errstate(over="ignore"):  # what float32 cannot hold is found as infinity below
        samples = np.ascontiguousarray(x, dtype=np.float32)
    bad = ~np.isfinite(samples)
    if bad.any():
        row, column = (int(i) for i in np.argwhere(bad)[0])
        raise DataError(
            f"sample {row}, feature {column} is {x[row, column]}: "
            "replace or remove NaN, infinity and what float32 cannot hold"
        )
    return samples


def _labels(y: np.ndarray, samples: int) -> np.ndarray:
    if y.ndim != 1 or len(y) != samples:
        raise DataError(f"y must have the shape ({samples},), one label per sample, got {y.shape}")
    if y.dtype.kind not in "iuf":
        raise DataError(f"labels must be integers, got the dtype {y.dtype}")
    whole = np.isfinite(y) & (y == np.floor(y)) & (y >= 0) & (y < 2**31)
    if not whole.all():
        row = int(np.argmin(whole))
        raise DataError(
            f"sample {row} has the label {y[row]}: expected integers from 0 to {2**31 - 1}"
        )
    return y.astype(np.int64)
