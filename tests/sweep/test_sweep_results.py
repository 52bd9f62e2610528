import subprocess
import sys

import pandas as pd
import pytest

from memprop.errors import DataError, OutputError
from memprop.sweep import results
from memprop.sweep.measurement import Measurement
from memprop.sweep.plan import trials
from memprop.sweep.results import column_types, frame, load_results, write_results
from memprop.sweep.store import FILE, ResultStore
from memprop.terms import CATEGORIES

LARGE = 2**60 + 1  # a float would make it 2**60


@pytest.fixture
def rows(spec):
    good, bad, *_ = trials(spec)
    return [
        {**trial.axes(), **measured.columns(), "seed": 0}
        for trial, measured in zip((good, bad), MEASURED, strict=True)
    ]


END = {"host": "here", "started": "2025-01-01T00:00:00+00:00", "seconds": 1.5}
MEASURED = (
    Measurement(status="ok", ledger_peak=LARGE, step_seconds=0.25, peak_operator="linear1", **END),
    Measurement(status="timeout", message="ran longer than 1 min 0 s", **END),
)


def stored(folder, spec):
    with ResultStore(folder) as store:
        for trial, measured in zip(trials(spec), MEASURED, strict=False):
            store.add(trial, measured)


def test_columns_are_those_of_the_contract_in_order():
    expected = (
        *("depth", "batch", "width", "mode", "schedule", "activation", "optimizer", "loss"),
        *("bias", "l2", "dtype", "update", "dropout", "dropout_mask", "norm", "residual"),
        *("status", "message", "predicted_peak", "ledger_peak"),
        *("tracemalloc_peak", "kernel_peak", "psutil_peak", "psutil_uss_peak"),
        "memory_profiler_peak",
        *(f"peak_{category}" for category in CATEGORIES),
        *("peak_operator", "saved_bytes", "saved_count", "persistent_bytes", "flops"),
        *("recomputed_flops", "step_seconds", "seed", "host", "started", "seconds"),
    )
    assert expected == tuple(column_types())


def test_results_come_from_the_store(tmp_path, spec, rows):
    stored(tmp_path, spec)
    table = load_results(tmp_path)
    assert tuple(table.columns) == tuple(column_types())
    assert list(table["depth"]) == [1, 1]
    assert list(table["batch"]) == [8, 16]
    assert list(table["status"]) == ["ok", "timeout"]


def test_bytes_stay_exact_where_a_failed_trial_has_none(tmp_path, spec, rows):
    stored(tmp_path, spec)
    peaks = load_results(tmp_path)["ledger_peak"]
    assert peaks.dtype == "Int64"
    assert peaks[0] == LARGE
    assert peaks[1] is pd.NA


def test_a_column_that_a_trial_adds_comes_last(rows):
    rows[0]["blas_threads"] = 4
    rows[1]["blas_threads"] = 2
    table = frame(rows)
    assert tuple(table.columns) == (*column_types(), "blas_threads")
    assert table["blas_threads"].dtype == "int64"


def test_no_rows_are_a_table_with_all_columns():
    table = frame([])
    assert tuple(table.columns) == tuple(column_types())
    assert len(table) == 0
    assert table["ledger_peak"].dtype == "Int64"


def test_what_is_written_is_read_again(tmp_path, rows):
    table = frame(rows)
    write_results(table, tmp_path / "new")
    assert {path.name for path in (tmp_path / "new").iterdir()} == {
        "results.csv",
        "results.parquet",
    }
    pd.testing.assert_frame_equal(load_results(tmp_path / "new"), table)


def test_a_table_with_failed_trials_only_is_read_again(tmp_path, rows):
    table = frame(rows[1:])
    write_results(table, tmp_path)
    pd.testing.assert_frame_equal(load_results(tmp_path), table)


def test_the_csv_has_a_line_for_each_trial_with_exact_numbers(tmp_path, rows):
    write_results(frame(rows), tmp_path)
    header, good, bad = (tmp_path / "results.csv").read_text().splitlines()
    assert header == ",".join(column_types())
    assert f",{LARGE}," in good
    assert "timeout,ran longer than 1 min 0 s" in bad


def test_the_store_goes_before_the_parquet(tmp_path, spec, rows):
    write_results(frame(rows[:1]), tmp_path)
    stored(tmp_path, spec)
    assert len(load_results(tmp_path)) == 2


def test_a_write_that_fails_leaves_the_old_results_whole(tmp_path, rows, monkeypatch):
    write_results(frame(rows), tmp_path)
    old = (tmp_path / "results.parquet").read_bytes()

    def half(self, file, **options):
        file.write(old[: len(old) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", half)
    with pytest.raises(OutputError, match=r"results\.parquet': No space left on device"):
        write_results(frame(rows[:1]), tmp_path)
    assert (tmp_path / "results.parquet").read_bytes() == old
    assert {path.name for path in tmp_path.iterdir()} == {"results.csv", "results.parquet"}


def test_a_folder_without_results_says_how_to_make_them(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DataError, match=r"no results in .*: expected .* `memprop sweep"):
            load_results(folder)


def test_a_sweep_that_has_just_begun_has_no_results_yet(tmp_path):
    ResultStore(tmp_path).close()
    with pytest.raises(DataError, match="holds no results yet"):
        load_results(tmp_path)


def test_damaged_results_are_told(tmp_path):
    (tmp_path / "results.parquet").write_bytes(b"PAR1 is how it begins")
    with pytest.raises(DataError, match=r"results\.parquet cannot be read"):
        load_results(tmp_path)
    (tmp_path / FILE).write_bytes(b"no database" * 500)
    with pytest.raises(DataError, match="--fresh"):
        load_results(tmp_path)


def test_a_folder_that_cannot_be_written_is_told(tmp_path, rows):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot make the folder"):
        write_results(frame(rows), tmp_path / "file")


def test_pandas_is_loaded_by_those_who_need_it_only():
    code = f"import sys, {results.__name__}; sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
