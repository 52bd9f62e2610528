"""Stored sweeps stay valid: files of earlier versions, and axes that are added later."""

import shutil
import sqlite3
from contextlib import closing
from dataclasses import fields, make_dataclass
from pathlib import Path

import pytest

from memprop.errors import DataError
from memprop.sweep import plan
from memprop.sweep.axes import TABLE, Axis
from memprop.sweep.plan import Trial, trials
from memprop.sweep.results import load_results
from memprop.sweep.runner import run_sweep
from memprop.sweep.spec import load_spec
from memprop.sweep.store import FILE, SCHEMA, ResultStore

STORED = Path(__file__).parent / "stored"
"""A sweep that the version before schemas ran and stored; the name of the machine is left out."""


@pytest.fixture
def folder(tmp_path):
    shutil.copy(STORED / "schema_0.sqlite", tmp_path / FILE)
    return tmp_path


def version(folder):
    with closing(sqlite3.connect(folder / FILE)) as connection:
        return connection.execute("PRAGMA user_version").fetchone()[0]


class Never:
    """An executor that must not be asked."""

    jobs = 1

    def __call__(self, trial):
        pytest.fail(f"{trial} is run again")

    def stop(self):
        pass


def test_a_stored_sweep_of_the_version_before_is_upgraded_and_not_run_again(folder):
    spec = load_spec(STORED / "spec.toml")
    before = load_results(folder)
    assert version(folder) == 0
    assert len(before) == len(trials(spec)) == 8
    outcome = run_sweep(spec, folder, execute=Never(), progress=False)
    assert (outcome.ran, outcome.skipped, outcome.failed) == (0, 8, 0)
    assert version(folder) == SCHEMA
    assert load_results(folder).equals(before)


def test_it_can_be_read_where_nothing_can_be_written(folder):
    content = (folder / FILE).read_bytes()
    assert (load_results(folder)["status"] == "ok").all()
    assert (folder / FILE).read_bytes() == content


def test_an_upgrade_that_fails_leaves_the_file_as_it_was(folder):
    with closing(sqlite3.connect(folder / FILE)) as connection, connection:
        connection.execute(
            "UPDATE trials SET trial = 'damaged' WHERE rowid = (SELECT max(rowid) FROM trials)"
        )
        keys = connection.execute("SELECT key FROM trials").fetchall()
    with pytest.raises(DataError, match="damaged"):
        ResultStore(folder)
    with closing(sqlite3.connect(folder / FILE)) as connection:
        assert connection.execute("SELECT key FROM trials").fetchall() == keys
    assert version(folder) == 0


def test_a_file_of_a_newer_version_is_refused(folder):
    with closing(sqlite3.connect(folder / FILE)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    for use in (ResultStore, load_results):
        with pytest.raises(DataError, match=r"newer memprop .* update memprop"):
            use(folder)


def test_a_new_axis_leaves_the_keys_of_stored_trials_as_they_are(monkeypatch):
    stored = [trial.to_json() for trial in trials(load_spec(STORED / "spec.toml"))]
    keys = [Trial.from_json(text).key for text in stored]
    later = (*TABLE, Axis(name="momentum", check=TABLE[0].check, default=1))
    monkeypatch.setattr(plan, "TABLE", later)
    other = make_dataclass(
        "Trial", [("momentum", int, 1)], bases=(Trial,), frozen=True, kw_only=True
    )
    assert "momentum" in {field.name for field in fields(other)}
    assert [other.from_json(text).key for text in stored] == keys
    changed = other.from_json(stored[0].replace('"depth"', '"momentum":2,"depth"'))
    assert changed.key not in keys
