"""Runs the trials of a sweep that have no result yet; stores each result the moment it exists."""

import os
import time
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from memprop.checks import check_positive_integer
from memprop.data import load_data
from memprop.errors import OutputError
from memprop.files import make_folder, write_whole
from memprop.sweep.executors import Executor
from memprop.sweep.lock import locked
from memprop.sweep.measurement import FAILURES, Measurement
from memprop.sweep.plan import Trial, trials
from memprop.sweep.progress import Bar, say, title
from memprop.sweep.room import Shortage, shortages
from memprop.sweep.spec import SweepSpec
from memprop.sweep.store import ResultStore
from memprop.units import format_seconds

_PATIENCE_SECONDS: Final = 0.05
_MOST_SHOWN: Final = 8


_Result = tuple[Trial, Measurement]


@dataclass(frozen=True)
class SweepOutcome:
    """What one call did.

    Attributes:
        ran: trials that were run now, failed ones among them.
        skipped: trials that were not: they had a result already, or were left out.
        failed: trials that were run now and whose status is not "ok".
        seconds: what the call took.
    """

    ran: int
    skipped: int
    failed: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What is done with results that are there, and with what need not be run.

    Attributes:
        fresh: forget all results that are there.
        prune: forget results that the specification no longer asks for.
        retry: run trials again that failed.
        skip_oom: do not run what is predicted to run out of memory.
        limit: run at most that many trials now.
    """

    fresh: bool = False
    prune: bool = False
    retry: bool = False
    skip_oom: bool = False
    limit: int | None = None


def run_sweep(
    spec: SweepSpec,
    folder: str | os.PathLike[str],
    *,
    options: RunOptions = RunOptions(),
    execute: Executor,
    progress: bool = True,
    files: Mapping[str, str] | None = None,
) -> SweepOutcome:
    """Run what ``spec`` asks for and ``folder`` has no result of.

    Args:
        spec: what to run.
        folder: where the results are stored; it is made if need be.
        execute: runs the trials.
        options: what to do with results that exist, and what to leave out.
        progress: show a bar on stderr if that is a terminal.
        files: texts to write into the folder, by name, once it is known to be ours.

    Raises:
        InvalidValueError: the limit is not positive.
        FolderInUseError: another sweep runs in the folder.
        OutputError: the folder cannot be written.
        DataError: the stored results are damaged.
        KeyboardInterrupt: the user stopped it; what was done is stored.
    """
    clock = time.perf_counter()
    if options.limit is not None:
        check_positive_integer("limit", options.limit)
    planned = trials(spec)
    make_folder(Path(folder))
    with locked(Path(folder)), ResultStore(folder, fresh=options.fresh) as store:
        for name, text in (files or {}).items():
            write_whole(Path(folder) / name, text)
        pending = _pending(store, planned, options)
        left_out = _announce_shortages(pending, spec, options)
        for shortage in left_out:
            store.add(shortage.trial, shortage.measurement())
        skipped = {shortage.trial for shortage in left_out}
        chosen = [trial for trial in pending if trial not in skipped][: options.limit]
        try:
            with Bar(progress, len(planned) - len(chosen), len(planned)) as bar:
                count = _run(chosen, store, bar, execute)
        except KeyboardInterrupt:
            say(f"interrupted: {_stored(store, planned)}; run the same sweep again to go on")
            raise
        seconds = time.perf_counter() - clock
        outcome = SweepOutcome(len(chosen), len(planned) - len(pending), count, seconds)
        say(f"{_summary(outcome, len(skipped))}: {_stored(store, planned)}")
    return outcome


# What is to be run


def _pending(store: ResultStore, planned: Sequence[Trial], options: RunOptions) -> list[Trial]:
    """The trials that have to be run; says what becomes of results that are no longer asked for."""
    again = ("skipped", *(FAILURES if options.retry else ()))
    statuses = store.statuses()
    pending = [trial for trial in planned if statuses.get(trial.key, "skipped") in again]
    stale = statuses.keys() - {trial.key for trial in planned}
    if stale:
        fate = "dropped (--prune)" if options.prune else "kept, unseen (--prune drops them)"
        say(
            f"the specification has changed: {len(pending)} of its {len(planned)} trials are to be "
            f"run; {len(stale)} results that it no longer asks for are {fate}"
        )
    if options.prune:
        store.drop(stale)
    store.plan(planned)
    return pending


def _announce_shortages(
    pending: Sequence[Trial], spec: SweepSpec, options: RunOptions
) -> list[Shortage]:
    """Say which trials will run out of memory; those of them that are left out."""
    found = shortages(pending, load_data(spec.data.source)) if pending else []
    if not found:
        return []
    fate = "they are skipped" if options.skip_oom else "they are run all the same (--skip-oom)"
    say(f"{len(found)} of {len(pending)} trials are predicted to run out of memory, {fate}:")
    for shortage in found[:_MOST_SHOWN]:
        say(f"  {title(shortage.trial)}: {shortage}")
    if len(found) > _MOST_SHOWN:
        say(f"  and {len(found) - _MOST_SHOWN} more")
    return found if options.skip_oom else []


# Running


def _run(pending: Sequence[Trial], store: ResultStore, bar: Bar, execute: Executor) -> int:
    """Run and store ``pending``; how many failed.

    A result that cannot be stored (the disk is full) is held, and stored when there is room.

    Raises:
        OutputError: there was no room to the end.
    """

    def announced(trial: Trial) -> Measurement:
        bar.begun(trial)
        return execute(trial)

    failures, held = 0, []
    if execute.jobs == 1:
        results = ((trial, announced(trial)) for trial in pending)
    else:
        results = _threads(pending, announced, execute)
    with closing(results):  # an interrupt between two results must stop the threads too
        for trial, measured in results:
            held = _stored_but(store, [*held, (trial, measured)])
            failures += measured.status in FAILURES
            bar.done(failures)
    held = _stored_but(store, held)
    if held:
        raise OutputError(
            f"{len(held)} of {len(pending)} results could not be stored, "
            f"{_stored(store, pending)}: make room and run the same sweep again"
        )
    return failures


def _stored_but(store: ResultStore, results: Sequence[_Result]) -> list[_Result]:
    """Store ``results``; those for which there is no room now are returned."""
    for place, (trial, measured) in enumerate(results):
        try:
            store.add(trial, measured)
        except OutputError as error:
            if place == len(results) - 1:
                say(f"a result could not be stored, it is tried again: {error}")
            return list(results[place:])
    return []


def _threads(
    pending: Sequence[Trial], run: Callable[[Trial], Measurement], execute: Executor
) -> Generator[_Result, None, None]:
    """Results as they come. A thread only waits for its trial."""
    pool = ThreadPoolExecutor(execute.jobs)
    futures: dict[Future[Measurement], Trial] = {}
    try:
        futures.update((pool.submit(run, trial), trial) for trial in pending)
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        _stop(pool, futures, execute)


def _stop(
    pool: ThreadPoolExecutor, futures: Collection[Future[Measurement]], execute: Executor
) -> None:
    """Begin no other trial and kill those that run; after a complete sweep there are none."""
    pool.shutdown(wait=False, cancel_futures=True)
    while not all(future.done() for future in futures):
        execute.stop()  # again and again, for a thread may be just about to start its process
        time.sleep(_PATIENCE_SECONDS)


# Telling


def _summary(outcome: SweepOutcome, left_out: int) -> str:
    left = f", left out {left_out}" if left_out else ""
    counts = f"ran {outcome.ran}, skipped {outcome.skipped}{left}, failed {outcome.failed}"
    return f"{counts} in {format_seconds(outcome.seconds)}"


def _stored(store: ResultStore, planned: Sequence[Trial]) -> str:
    done = store.statuses()
    return f"{sum(trial.key in done for trial in planned)} of {len(planned)} results are stored"
