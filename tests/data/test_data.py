"""Data are read whole or refused in one line; nothing is unpickled."""

import numpy as np
import pandas as pd
import pytest

import memprop as mp
from memprop.errors import DataError


def test_the_digits_are_those_of_uci():
    digits = mp.load_digits()
    assert (digits.samples, digits.features, digits.classes) == (1797, 64, 10)
    assert (digits.x.dtype, digits.y.dtype) == (np.float32, np.int64)
    # The class distribution that UCI's optdigits.names gives for optdigits.tes.
    counts = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert np.bincount(digits.y).tolist() == counts
    np.testing.assert_array_equal(digits.x * 16, np.round(digits.x * 16))
    assert (digits.x.min(), digits.x.max()) == (0, 1)
    # The first line of the file: a zero.
    first = [0, 0, 5, 13, 9, 1, 0, 0, 0, 0, 13, 15, 10, 15, 5, 0]
    assert (digits.x[0, :16] * 16).tolist() == first
    assert digits.y[0] == 0


def test_a_batch_may_be_larger_than_the_set():
    digits = mp.load_digits()
    x, y = digits.batch(4000, seed=3)
    assert (x.shape, y.shape) == ((4000, 64), (4000,))
    counts = np.unique(x, axis=0, return_counts=True)[1]
    assert counts.max() >= 3
    again = digits.batch(4000, seed=3)
    np.testing.assert_array_equal(x, again[0])
    # Every sample before any twice.
    assert len(np.unique(digits.batch(1797)[0], axis=0)) == len(np.unique(digits.x, axis=0))


def test_a_split_is_seeded_and_complete():
    digits = mp.load_digits()
    train, test = digits.split(0.2, seed=5)
    assert (train.samples, test.samples) == (1438, 359)
    both = np.concatenate([train.x, test.x])
    order = np.lexsort(both.T), np.lexsort(digits.x.T)
    np.testing.assert_array_equal(both[order[0]], digits.x[order[1]])
    np.testing.assert_array_equal(test.x, digits.split(0.2, seed=5)[1].x)
    for fraction in (0, 1, 2.0, -1):
        with pytest.raises(ValueError, match="between 0 and 1"):
            digits.split(fraction)
    with pytest.raises(ValueError, match="at least one sample, got 0"):
        digits.batch(0)


X = np.arange(12).reshape(4, 3) / 4
Y = np.array([0, 1, 2, 1])


def write_npz(path, **arrays):
    np.savez(path, **(arrays or {"X": X, "y": Y}))


def write_csv(path, header=True):
    pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "c": X[:, 2], "label": Y}).to_csv(
        path, index=False, header=header
    )


@pytest.mark.parametrize("kind", ["npz", "csv", "csv without names", "parquet"])
def test_every_kind_of_file_gives_the_same_data(tmp_path, kind):
    path = tmp_path / f"mine.{kind.split()[0]}"
    if kind == "npz":
        write_npz(path)
    elif kind == "parquet":
        pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "c": X[:, 2], "label": Y}).to_parquet(path)
    else:
        write_csv(path, header=kind == "csv")
    found = mp.load_data(path)
    np.testing.assert_array_equal(found.x, X.astype(np.float32))
    np.testing.assert_array_equal(found.y, Y)
    assert found.classes == 3


class Trap:
    """An object whose unpickling would leave a trace."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


BAD_NPZ = {
    "no X": ({"y": Y}, "expected the arrays X and y, found y"),
    "no y": ({"X": X}, "found X"),
    "one dimension": ({"X": X[:, 0], "y": Y}, r"X must have the shape \(samples, features\)"),
    "lengths": ({"X": X, "y": Y[:3]}, r"y must have the shape \(4,\)"),
    "empty": ({"X": X[:0], "y": Y[:0]}, "X is empty"),
    "texts": ({"X": X.astype(str), "y": Y}, "X must hold real numbers"),
    "nan": ({"X": np.where(X == 0.5, np.nan, X), "y": Y}, "sample 0, feature 2 is nan"),
    "infinite": ({"X": np.where(X == 0.5, np.inf, X), "y": Y}, "sample 0, feature 2 is inf"),
    "large": ({"X": X * 1e300, "y": Y}, "what float32 cannot hold"),
    "half labels": ({"X": X, "y": Y / 2}, "sample 1 has the label 0.5"),
    "negative": ({"X": X, "y": Y - 1}, "sample 0 has the label -1"),
    "named labels": ({"X": X, "y": Y.astype(str)}, "labels must be integers"),
}


@pytest.mark.parametrize("case", BAD_NPZ)
def test_bad_arrays_are_refused(tmp_path, case):
    arrays, message = BAD_NPZ[case]
    write_npz(tmp_path / "bad.npz", **arrays)
    assert_refused(tmp_path / "bad.npz", message)


def assert_refused(path, message):
    with pytest.raises(DataError, match=message) as caught:
        mp.load_data(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_pickled_objects_are_never_opened(tmp_path):
    trap = tmp_path / "sprung"
    objects = np.empty((4, 3), dtype=object)
    objects[...] = Trap(trap)
    write_npz(tmp_path / "trap.npz", X=objects, y=Y)
    assert_refused(tmp_path / "trap.npz", "pickled and therefore not read")
    assert not trap.exists()


def test_damaged_and_foreign_files_are_refused(tmp_path):
    write_npz(tmp_path / "whole.npz")
    whole = (tmp_path / "whole.npz").read_bytes()
    files = {
        "cut.npz": whole[: len(whole) // 2],
        "text.npz": b"hello",
        "empty.npz": b"",
        "junk.parquet": b"PAR1 no",
        "latin.csv": bytes([255, 254]) + b"1,2",
        "empty.csv": b"",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        assert_refused(tmp_path / name, "damaged|empty|UTF-8")
    np.save(tmp_path / "one.npy", X)
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    assert_refused(tmp_path / "one.npz", "expected an archive|damaged")


def test_a_few_changed_bytes_are_read_or_refused(tmp_path):
    write_npz(tmp_path / "whole.npz")
    whole = np.frombuffer((tmp_path / "whole.npz").read_bytes(), dtype=np.uint8)
    random = np.random.default_rng(7)
    refused = 0
    for _ in range(400):
        changed = whole.copy()
        changed[random.integers(len(whole), size=2)] = random.integers(256, size=2)
        (tmp_path / "changed.npz").write_bytes(changed.tobytes())
        try:
            mp.load_data(tmp_path / "changed.npz")
        except DataError:
            refused += 1
    assert refused > 200  # the checksums of the archive tell


def test_files_that_are_not_there(tmp_path):
    assert_refused(tmp_path / "nowhere.csv", "there is no such file")
    (tmp_path / "folder.csv").mkdir()
    assert_refused(tmp_path / "folder.csv", "this is a folder")
    assert_refused(tmp_path / "data.txt", "unknown kind of data: expected 'digits' or a file in")
    with pytest.raises(TypeError, match="got None"):
        mp.load_data(None)


BAD_CSV = {
    "a,b,label\n1,2,0\n1,two,1\n": "column 'b', sample 1: expected a number, got 'two'",
    "1,2,0\n3,,1\n": "sample 1, feature 1 is nan",
    "5\n6\n": "expected features and a last column of labels",
    "a,b\n": "empty",
    "1,2,cat\n3,4,dog\n": "cat",
}


@pytest.mark.parametrize("text", BAD_CSV)
def test_bad_tables_name_column_and_row(tmp_path, text):
    (tmp_path / "bad.csv").write_text(text)
    assert_refused(tmp_path / "bad.csv", BAD_CSV[text])
