"""Kills a running sweep at random moments, with SIGKILL, and starts it again until it is complete.

Run: python experiments/kill_and_resume.py [KILLS] [SEED]

What must be true in the end: every trial has one result; none that was stored was run again; no
process of a killed sweep is left.
"""

import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import psutil

import memprop as mp

SPEC = """
name = "killed"
title = "A sweep that is killed again and again"
[grid]
depth = [1, 2, 3, 4, 5, 6, 7, 8]
batch = [16, 32, 64, 128, 256, 512]
width = 32
schedule = ["textbook", "lean"]
[measure]
witnesses = ["tracemalloc", "kernel"]
steps = 2
repeats = 2
"""
TRIALS = 8 * 6 * 2
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def stored(folder: Path) -> dict[str, str]:
    """When each result was stored, by the key of its trial."""
    path = folder / "trials.sqlite"
    if not path.exists():
        return {}
    with closing(sqlite3.connect(path)) as connection:
        try:
            return dict(connection.execute("SELECT key, finished || row FROM trials"))
        except sqlite3.OperationalError:  # killed before it made its tables
            return {}


def main(kills: int = 20, seed: int = 0) -> None:
    generator = random.Random(seed)  # noqa: S311 - no secrets here
    with tempfile.TemporaryDirectory() as place:
        spec, folder = Path(place) / "killed.toml", Path(place) / "out"
        spec.write_text(SPEC)
        command = [sys.executable, "-m", "memprop", "sweep", str(spec), "--out", str(folder)]
        before: dict[str, str] = {}
        servers: list[psutil.Process] = []
        for number in range(kills):
            sweep = subprocess.Popen(command, **QUIET)  # noqa: S603
            time.sleep(generator.uniform(0.3, 2.0))
            servers += (
                psutil.Process(sweep.pid).children(recursive=True) if sweep.poll() is None else []
            )
            sweep.send_signal(signal.SIGKILL)
            sweep.wait()
            now = stored(folder)
            changed = [key for key, row in before.items() if now.get(key) != row]
            assert not changed, f"results were lost or made again: {changed}"
            print(f"kill {number + 1:2d}: {len(now):3d} of {TRIALS} stored")
            before = now
        subprocess.run(command, check=True, **QUIET)  # noqa: S603
        now = stored(folder)
        assert all(now[key] == row for key, row in before.items())
        results = mp.load_results(folder)
        assert len(now) == len(results) == TRIALS
        assert (results["status"] == "ok").all()
        time.sleep(1)
        left = [process for process in servers if process.is_running()]
        assert not left, f"processes are left: {left}"
        print(f"complete after {kills} kills: {len(results)} trials, none lost, none run twice")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
