"""The results of a sweep while it runs: one SQLite file, one transaction for each trial.

What is added is safe at once, so a sweep that is interrupted, killed or switched off goes on where
it stopped.
"""

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from memprop.errors import DataError, OutputError
from memprop.files import make_folder
from memprop.sweep.measurement import Measurement
from memprop.sweep.plan import Trial

FILE: Final = "trials.sqlite"

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS trials (
    key TEXT PRIMARY KEY, trial TEXT NOT NULL, row TEXT NOT NULL, finished TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS sweep (position INTEGER PRIMARY KEY, key TEXT NOT NULL);
"""
"""``trials`` holds every result there is, ``sweep`` the keys of the specification that was run last
in their order: a result that the specification no longer asks for is kept but not shown."""

SCHEMA: Final = 1
"""The version of what the file holds, in SQLite's ``user_version``.

0 was before versions were written: the keys of trials depended on every axis there was, so that a
new axis changed them all.
"""

_STATUSES: Final = "SELECT key, json_extract(row, '$.status') FROM trials"
_ADD: Final = "INSERT OR REPLACE INTO trials VALUES (?, ?, ?, ?)"


class ResultStore:
    """The results in a folder, for one process that adds to them.

    Args:
        folder: is made if need be.
        fresh: begin with an empty file, even if the one that is there is damaged.

    Raises:
        OutputError: the folder or the file cannot be made or written.
        DataError: the file is there but damaged.
    """

    def __init__(self, folder: str | os.PathLike[str], *, fresh: bool = False) -> None:
        make_folder(Path(folder))
        self._path = Path(folder) / FILE
        with _explained(self._path):
            if fresh:
                _remove(self._path)
            self._connection = _opened(self._path)

    def statuses(self) -> dict[str, str]:
        """The status of every trial that has a result, by its key."""
        with _explained(self._path):
            return dict(self._connection.execute(_STATUSES))

    def drop(self, keys: Iterable[str]) -> None:
        """Forget the results of ``keys``."""
        with _explained(self._path), self._connection:
            self._connection.executemany("DELETE FROM trials WHERE key = ?", ((k,) for k in keys))

    def add(self, trial: Trial, measured: Measurement) -> None:
        """Store what came of ``trial``; when this returns, it is on the disk."""
        row = {**trial.axes(), **measured.columns(), "seed": trial.seed}
        finished = datetime.now(UTC).isoformat(timespec="seconds")
        values = (trial.key, trial.to_json(), json.dumps(row), finished)
        with _explained(self._path), self._connection:
            self._connection.execute(_ADD, values)

    def plan(self, trials: Iterable[Trial]) -> None:
        """Say which trials the sweep has now, and in which order."""
        with _explained(self._path), self._connection:
            self._connection.execute("DELETE FROM sweep")
            self._connection.executemany(
                "INSERT INTO sweep VALUES (?, ?)",
                enumerate(trial.key for trial in trials),
            )

    def rows(self, keys: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """The results of ``keys`` in their order; those that have none yet are left out.

        Without ``keys``: of the planned trials, or of all in the order in which they were added
        if none are planned.
        """
        with _explained(self._path):
            return _rows(self._connection, keys)

    def clear(self) -> None:
        """Forget all results."""
        with _explained(self._path), self._connection:
            self._connection.execute("DELETE FROM trials")
            self._connection.execute("DELETE FROM sweep")

    def close(self) -> None:
        """Leave a single file that can be copied, and read in a folder that is read-only."""
        with suppress(sqlite3.Error):  # another process has it open still, or it was closed
            self._connection.execute("PRAGMA journal_mode=DELETE")
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def stored_rows(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """What :meth:`ResultStore.rows` says of the store in ``folder``, which is only read.

    Raises:
        OutputError: the file cannot be opened.
        DataError: it is damaged.
    """
    path = Path(folder) / FILE
    with (
        _explained(path),
        closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection,
    ):
        _check_schema(connection, path)
        return _rows(connection, None)


def _rows(connection: sqlite3.Connection, keys: Sequence[str] | None) -> list[dict[str, Any]]:
    stored = dict(connection.execute("SELECT key, row FROM trials ORDER BY rowid"))
    if keys is None:
        planned = connection.execute("SELECT key FROM sweep ORDER BY position")
        keys = [key for (key,) in planned] or list(stored)
    return [json.loads(stored[key]) for key in keys if key in stored]


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript(_TABLES)
        _upgrade(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _check_schema(connection: sqlite3.Connection, path: Path) -> int:
    """The version of the file, which this version of memprop can read.

    Raises:
        DataError: a newer version wrote it.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA:
        raise DataError(
            f"{path} was written by a newer memprop (schema {version}, this one knows {SCHEMA}): "
            "update memprop, or choose another folder with --out"
        )
    return version


def _upgrade(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the file to the schema of this version, all at once or not at all.

    Raises:
        DataError: a newer version wrote it, or a trial in it cannot be read.
    """
    if _check_schema(connection, path) == SCHEMA:
        return
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        stored = connection.execute("SELECT key, trial FROM trials").fetchall()
        keys = {key: Trial.from_json(text) for key, text in stored}
        for key, trial in keys.items():
            connection.execute(
                "UPDATE OR REPLACE trials SET key = ?, trial = ? WHERE key = ?",
                (trial.key, trial.to_json(), key),
            )
            connection.execute("UPDATE sweep SET key = ? WHERE key = ?", (trial.key, key))
        connection.execute(f"PRAGMA user_version = {SCHEMA}")


def remove_store(folder: Path) -> None:
    """Remove the store in ``folder``, if there is one."""
    with _explained(folder / FILE):
        _remove(folder / FILE)


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):  # a log that outlived its file would spoil the new one
        path.with_name(path.name + suffix).unlink(missing_ok=True)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """One clear line in place of what SQLite and the system say."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise OutputError(f"{path} cannot be used: {error}") from None
    except (sqlite3.DatabaseError, json.JSONDecodeError) as error:
        raise DataError(f"{path} is damaged ({error}): start the sweep over with --fresh") from None
    except OSError as error:
        raise OutputError(f"{path} cannot be replaced: {error.strerror}") from None
