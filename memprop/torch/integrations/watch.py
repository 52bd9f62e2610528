"""What every callback does: record some steps of a training, log figures, write pages."""

import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch.profiler import ProfilerAction

from memprop.checks import check_integer_from_zero, check_positive_integer
from memprop.errors import InvalidTypeError, InvalidValueError
from memprop.files import make_folder, write_whole
from memprop.report.step import write_step
from memprop.torch.integrations.figures import figures_of
from memprop.torch.integrations.out_of_memory import is_out_of_memory, write_out_of_memory
from memprop.torch.loop import Profile, Schedule, profile
from memprop.traces.steps import StepSummary
from memprop.traces.trace import Trace

_FIRST_STEPS = 3
_EVERY_STEPS = 100


def few_steps(number: int) -> ProfilerAction:
    """Record the first three steps, in which optimizers make their state, and then 1 in 100."""
    wanted = number < _FIRST_STEPS or number % _EVERY_STEPS == 0
    return ProfilerAction.RECORD if wanted else ProfilerAction.NONE


class Watch:
    """Watches one training after the other.

    Nothing is hooked but inside a recorded step, from :meth:`begin_step` to :meth:`end_step`.

    Args:
        schedule: which steps are recorded, counted from 0 where a training begins; a number n for 1
            in n.
        out: a folder for what is written; nothing is if it is ``None``.
        page_steps: numbers of steps, as in the log, that are recorded and written in any case.

    Raises:
        InvalidTypeError: an argument has the wrong type.
        InvalidValueError: a number is negative, or pages have no folder.
    """

    def __init__(
        self,
        *,
        schedule: Schedule | int | None,
        out: str | os.PathLike[str] | None,
        page_steps: Iterable[int],
    ) -> None:
        self._schedule = few_steps if schedule is None else _schedule(schedule)
        self._out = None if out is None else Path(out)
        self._page_steps = frozenset(_numbers(page_steps))
        if self._page_steps and self._out is None:
            raise InvalidValueError("page_steps are written into a folder: give out='reports/run'")
        self._profile: Profile | None = None
        self._entered = self._in_step = False
        self._first = self._done = self._rank = 0
        self._before: StepSummary | None = None

    @property
    def in_step(self) -> bool:
        """Whether a step runs, recorded or not."""
        return self._in_step

    def begin(self, first: int, names: Mapping[str, Any], rank: int = 0) -> None:
        """A training begins.

        Args:
            first: what the log calls its first step.
            names: what to call modules and optimizers.
            rank: of this process among those that train together. The first writes the pages.

        Raises:
            OutputError: the folder cannot be made.
        """
        self.end()
        if self._out is not None:
            make_folder(self._out)
        self._first, self._done, self._rank, self._before = first, 0, rank, None
        self._profile = profile(self._wants, names, keep=1)

    def begin_step(self) -> None:
        """A step begins."""
        if self._profile is None:
            return
        if self._entered:
            self._profile.resume()
        else:
            self._profile.__enter__()
            self._entered = True
        self._in_step = True

    def end_step(self) -> dict[str, float]:
        """The step is over: its figures by name; none if it was not recorded."""
        if self._profile is None or not self._in_step:
            return {}
        self._in_step = False
        trace = self._profile.pause()
        number, self._done = self._done, self._done + 1
        if trace is None:
            return {}
        step, before = StepSummary.of(trace, number), self._before
        self._before = step
        self._write_page(trace, number + self._first)
        return figures_of(step, before)

    def end(self, error: BaseException | None = None) -> None:
        """The training is over, or ``error`` broke it off; nothing is hooked from then on."""
        running, self._profile = self._profile, None
        entered, self._entered = self._entered, False
        if running is not None and entered:
            try:
                self._write_tables(running)
            finally:
                running.__exit__(type(error) if error else None, error, None)
            if error is not None and is_out_of_memory(error):
                self._write_out_of_memory(error, running)
        self._in_step = False

    def _wants(self, number: int) -> ProfilerAction:
        if number + self._first in self._page_steps:
            return ProfilerAction.RECORD
        return self._schedule(number)

    def _write_page(self, trace: Trace, number: int) -> None:
        if number in self._page_steps and self._out is not None and self._rank == 0:
            folder = self._out / f"step_{number}"
            _tried(lambda: write_step(trace, folder))

    def _write_tables(self, running: Profile) -> None:
        """Write a row for each recorded step, and what earlier steps have left."""
        out = self._out
        if out is None or self._rank != 0:
            return
        steps, growth = running.steps(), running.growth()
        steps["step"] += self._first
        growth["first_step"] += self._first
        _tried(lambda: write_whole(out / "steps.csv", steps.to_csv(index=False)))
        _tried(lambda: write_whole(out / "growth.csv", growth.to_csv(index=False)))

    def _write_out_of_memory(self, error: BaseException, running: Profile) -> None:
        if self._out is None:
            return
        name = "out_of_memory" if self._rank == 0 else f"out_of_memory_rank_{self._rank}"
        folder = self._out / name
        where = f"step {self._first + self._done}" if self._in_step else "between two steps"
        last = running.traces[-1] if running.traces else None
        error.add_note(f"memprop: what is known of memory at that moment is written into {folder}")
        _tried(lambda: write_out_of_memory(error, where, running.partial, last, folder))


def _schedule(given: Schedule | int) -> Schedule:
    if callable(given):
        return given
    if isinstance(given, bool) or not isinstance(given, int):
        raise InvalidTypeError(
            "schedule must be a number of steps, of which one is recorded, or a function such as "
            f"torch.profiler.schedule(...) makes, got {given!r}"
        )
    return partial(_one_in, check_positive_integer("schedule", given))


def _one_in(count: int, number: int) -> ProfilerAction:
    return ProfilerAction.NONE if number % count else ProfilerAction.RECORD


def _numbers(page_steps: Iterable[int]) -> list[int]:
    if isinstance(page_steps, str) or not isinstance(page_steps, Iterable):
        raise InvalidTypeError(f"page_steps must be numbers of steps, as (10,), got {page_steps!r}")
    return [check_integer_from_zero("a step of page_steps", step) for step in page_steps]


def _tried(write: Callable[[], None]) -> None:
    """Write something. A training goes on without it, and an error of its own is not replaced."""
    try:
        write()
    except Exception as error:
        warnings.warn(f"memprop could not write: {error}", RuntimeWarning, stacklevel=2)
