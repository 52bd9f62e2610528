"""Runs the trials of a sweep that have no result yet; stores each result the moment it exists."""

import os
import sys
import time
from collections.abc import Collection, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from memprop.checks import check_positive_integer
from memprop.sweep.executors import Execute, Row
from memprop.sweep.executors.process import kill_running, run_in_process
from memprop.sweep.plan import Trial, trials
from memprop.sweep.spec import SweepSpec
from memprop.sweep.store import ResultStore
from memprop.units import format_seconds

_TASK: Final = TaskID(0)  # the one line that the bar has
_PATIENCE_SECONDS: Final = 0.05


@dataclass(frozen=True)
class SweepOutcome:
    """What one call did.

    Attributes:
        ran: trials that were run now, failed ones among them.
        skipped: trials that had a result already.
        failed: trials that were run now and whose status is not "ok".
        seconds: what the call took.
    """

    ran: int
    skipped: int
    failed: int
    seconds: float


def run_sweep(
    spec: SweepSpec,
    folder: str | os.PathLike[str],
    *,
    fresh: bool = False,
    limit: int | None = None,
    jobs: int = 1,
    progress: bool = True,
    execute: Execute = run_in_process,
) -> SweepOutcome:
    """Run what ``spec`` asks for and ``folder`` has no result of.

    Args:
        spec: what to run.
        folder: where the results are stored; it is made if need be.
        fresh: forget the results that are there.
        limit: run at most that many trials now.
        jobs: how many trials run at the same time. They compete for cores and memory: peaks stay
            what they are, times do not.
        progress: show a bar on stderr if that is a terminal.
        execute: runs one trial; called in threads of this process if ``jobs`` is more than 1.

    Raises:
        InvalidValueError: ``limit`` or ``jobs`` is not positive.
        OutputError: the folder cannot be written.
        DataError: the stored results are damaged.
        KeyboardInterrupt: the user stopped it; what was done is stored.
    """
    check_positive_integer("jobs", jobs)
    if limit is not None:
        check_positive_integer("limit", limit)
    clock = time.perf_counter()
    planned = trials(spec)
    with ResultStore(folder, fresh=fresh) as store:
        store.plan(planned)
        done = store.done()
        pending = [trial for trial in planned if trial.key not in done]
        skipped, chosen = len(planned) - len(pending), pending[:limit]
        try:
            with _bar(progress, skipped, skipped + len(chosen)) as bar:
                failed = _run(chosen, store, bar, execute, jobs)
        except KeyboardInterrupt:
            _say(f"interrupted: {_stored(store, planned)}; run the same sweep again to go on")
            raise
        outcome = SweepOutcome(len(chosen), skipped, failed, time.perf_counter() - clock)
        _say(f"{_told(outcome)}: {_stored(store, planned)}")
    return outcome


# Running


def _run(
    pending: Sequence[Trial], store: ResultStore, bar: Progress, execute: Execute, jobs: int
) -> int:
    """Run and store ``pending``; how many failed."""

    def announced(trial: Trial) -> Row:
        bar.update(_TASK, description=_title(trial))
        return execute(trial)

    failed = 0
    results = _one_by_one(pending, announced) if jobs == 1 else _threads(pending, announced, jobs)
    with closing(results):  # an interrupt between two results must stop the threads too
        for trial, row in results:
            store.add(trial, row)
            failed += row.get("status") != "ok"
            bar.update(_TASK, advance=1, failed=failed)
    return failed


_Results = Generator[tuple[Trial, Row], None, None]


def _one_by_one(pending: Sequence[Trial], execute: Execute) -> _Results:
    for trial in pending:
        yield trial, execute(trial)


def _threads(pending: Sequence[Trial], execute: Execute, jobs: int) -> _Results:
    """Results as they come. A thread only waits for its trial's process."""
    pool = ThreadPoolExecutor(jobs)
    futures = {pool.submit(execute, trial): trial for trial in pending}
    try:
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        _stop(pool, futures)


def _stop(pool: ThreadPoolExecutor, futures: Collection[Future[Row]]) -> None:
    """Begin no other trial and kill those that run; after a complete sweep there are none."""
    pool.shutdown(wait=False, cancel_futures=True)
    while not all(future.done() for future in futures):
        kill_running()  # again and again, for a thread may be just about to start its process
        time.sleep(_PATIENCE_SECONDS)


# Telling


def _bar(progress: bool, completed: int, total: int) -> Progress:
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failed]} failed"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        redirect_stdout=False,  # stdout belongs to the caller
        disable=not (progress and sys.stderr.isatty()),
    )
    bar.add_task("", completed=completed, total=total, failed=0)
    return bar


def _title(trial: Trial) -> str:
    numbers = f"depth {trial.depth} batch {trial.batch} width {trial.width}"
    return f"{trial.mode} {trial.schedule} {numbers}"


def _told(outcome: SweepOutcome) -> str:
    counts = f"ran {outcome.ran}, skipped {outcome.skipped}, failed {outcome.failed}"
    return f"{counts} in {format_seconds(outcome.seconds)}"


def _stored(store: ResultStore, planned: Sequence[Trial]) -> str:
    done = store.done()
    return f"{sum(trial.key in done for trial in planned)} of {len(planned)} results are stored"


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
