import json
import sqlite3
from contextlib import closing

import pytest

from memprop.errors import DataError, OutputError
from memprop.sweep.measurement import Measurement
from memprop.sweep.plan import trials
from memprop.sweep.store import FILE, ResultStore, stored_rows


def test_what_is_added_is_there_when_the_store_is_opened_again(tmp_path, spec):
    first, second, *_ = trials(spec)
    with ResultStore(tmp_path / "new" / "folder") as store:
        store.add(second, Measurement(status="ok", ledger_peak=2**60 + 1))
        store.add(first, Measurement(status="error", message="no"))
    with ResultStore(tmp_path / "new" / "folder") as store:
        assert store.statuses() == {first.key: "error", second.key: "ok"}
        assert [row["status"] for row in store.rows()] == ["ok", "error"]
        assert store.rows()[0]["ledger_peak"] == 2**60 + 1


def test_rows_begin_with_the_axes_and_say_the_seed(tmp_path, spec):
    trial = trials(spec)[3]
    with ResultStore(tmp_path) as store:
        store.add(trial, Measurement(status="ok"))
        assert store.rows() == [{**trial.axes(), "status": "ok", "message": "", "seed": 0}]


def test_another_process_sees_a_result_as_soon_as_it_is_added(tmp_path, spec):
    with ResultStore(tmp_path) as store:
        store.add(trials(spec)[0], Measurement(status="ok"))
        assert [row["status"] for row in stored_rows(tmp_path)] == ["ok"]


def test_rows_come_in_the_order_that_is_asked_for(tmp_path, spec):
    first, second, third, *_ = trials(spec)
    with ResultStore(tmp_path) as store:
        for trial in (third, first, second):
            store.add(trial, Measurement(status="ok", message=trial.key))
        keys = [second.key, "unknown", third.key]
        assert [row["message"] for row in store.rows(keys)] == [second.key, third.key]


def test_planned_trials_come_in_their_order_and_alone(tmp_path, spec):
    first, second, third, *_ = trials(spec)
    with ResultStore(tmp_path) as store:
        for trial in (third, first, second):
            store.add(trial, Measurement(status="ok", message=trial.key))
        store.plan((second, third))
        assert [row["message"] for row in store.rows()] == [second.key, third.key]
        store.plan((first,))
        assert [row["message"] for row in store.rows()] == [first.key]
        assert len(store.statuses()) == 3


def test_a_trial_added_twice_has_the_later_result(tmp_path, spec):
    trial = trials(spec)[0]
    with ResultStore(tmp_path) as store:
        store.add(trial, Measurement(status="error"))
        store.add(trial, Measurement(status="ok"))
        assert [row["status"] for row in store.rows()] == ["ok"]


@pytest.mark.parametrize("fresh", [True, False])
def test_results_can_be_forgotten(tmp_path, spec, fresh):
    with ResultStore(tmp_path) as store:
        store.plan(trials(spec))
        store.add(trials(spec)[0], Measurement(status="ok"))
    with ResultStore(tmp_path, fresh=fresh) as store:
        if not fresh:
            store.clear()
        assert store.statuses() == {}
        assert store.rows() == []


def test_a_row_that_cannot_be_stored_leaves_the_store_as_it_was(tmp_path, spec):
    with ResultStore(tmp_path) as store:
        with pytest.raises(TypeError, match="JSON"):
            store.add(trials(spec)[0], Measurement(status="ok", message=object()))
        assert store.statuses() == {}


def test_a_closed_store_is_one_file_that_a_read_only_folder_can_hold(tmp_path, spec):
    with ResultStore(tmp_path) as store:
        store.add(trials(spec)[0], Measurement(status="ok"))
        assert store._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    with closing(sqlite3.connect(tmp_path / FILE)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def test_the_trial_is_stored_with_its_result(tmp_path, spec):
    trial = trials(spec)[0]
    with ResultStore(tmp_path) as store:
        store.add(trial, Measurement(status="ok"))
    with closing(sqlite3.connect(tmp_path / FILE)) as connection:
        stored = connection.execute("SELECT key, trial, finished FROM trials").fetchall()
    ((key, text, finished),) = stored
    assert (key, json.loads(text)) == (trial.key, json.loads(trial.to_json()))
    assert finished.endswith("+00:00")


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match=rf"cannot make the folder '{folder}': "):
            ResultStore(folder)


def test_a_file_that_cannot_be_opened_is_told(tmp_path):
    (tmp_path / FILE).mkdir()
    with pytest.raises(OutputError, match=r"trials\.sqlite cannot be used: unable to open"):
        ResultStore(tmp_path)
    with pytest.raises(OutputError, match=r"trials\.sqlite cannot be replaced"):
        ResultStore(tmp_path, fresh=True)


def test_a_damaged_file_is_told_and_fresh_replaces_it(tmp_path):
    (tmp_path / FILE).write_bytes(b"this is no database, but it is long enough" * 100)
    with pytest.raises(DataError, match=r"is damaged \(.*\): start the sweep over with --fresh"):
        ResultStore(tmp_path)
    with ResultStore(tmp_path, fresh=True) as store:
        assert store.statuses() == {}


def test_a_damaged_row_is_told(tmp_path, spec):
    with ResultStore(tmp_path) as store:
        store.add(trials(spec)[0], Measurement(status="ok"))
        with store._connection:
            store._connection.execute("UPDATE trials SET row = '{\"status'")
        with pytest.raises(DataError, match="is damaged"):
            store.rows()


def test_a_file_cut_in_half_is_told(tmp_path, spec):
    with ResultStore(tmp_path) as store:
        for trial in trials(spec):
            store.add(trial, Measurement(status="ok", message="x" * 5000))
    half = (tmp_path / FILE).read_bytes()[:9000]
    (tmp_path / FILE).write_bytes(half)
    with pytest.raises(DataError, match="--fresh"):
        stored_rows(tmp_path)
