"""Any training loop: a profiler that is switched on, and functions that do a step."""

import os
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import torch
from torch.profiler import ProfilerAction

from memprop.checks import check_positive_integer
from memprop.errors import InvalidTypeError, PhaseError
from memprop.torch.record.lines import Lines
from memprop.torch.record.modes import pushed
from memprop.torch.record.names import Names
from memprop.torch.record.recording import Recording, keep_trace
from memprop.traces.steps import StepSummary, growth_table, steps_table
from memprop.traces.trace import Trace

if TYPE_CHECKING:
    import pandas as pd

Schedule = Callable[[int], ProfilerAction]
_RECORDED = (ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE)
_RUNNING: "list[Profile]" = []
"""The one that runs, if one does: hooks of PyTorch are the whole program's."""


def _forget() -> None:
    """Record nothing in a process that was forked off, as a worker of a DataLoader."""
    for running in _RUNNING:
        running._close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def profile(
    schedule: Schedule | None = None,
    names: Mapping[str, Any] | None = None,
    *,
    lines: bool = True,
    keep: int | None = None,
) -> "Profile":
    """Record the steps of any training loop.

    >>> import torch, memprop.torch as mpt
    >>> model = torch.nn.Linear(4, 2)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> with mpt.profile() as prof:
    ...     for _ in range(3):
    ...         model(torch.randn(8, 4)).sum().backward()
    ...         optimizer.step()
    ...         optimizer.zero_grad()
    ...         prof.step()
    >>> len(prof.traces)
    3
    >>> prof.steps()["growth_bytes"].tolist()[1:]
    [0, 0]

    Nothing is handed over: modules, parameters, gradients and the state of optimizers are found by
    what they are, when the loop uses them. What was there before a step is in its trace from the
    beginning, as far as the step uses it.

    Args:
        schedule: which steps are recorded, as :func:`torch.profiler.schedule` makes it: those that
            are "active". A step that is not recorded costs nothing. All are recorded without it.
        names: what to call modules, optimizers and tensors. Others are called like the variables of
            the program, or like their class where none is in sight.
        lines: whether variables know the line of the program that made them.
        keep: how many traces to keep, the latest; all if not given. :meth:`Profile.steps` has a row
            for each recorded step either way.

    Raises:
        InvalidTypeError: an argument has the wrong type.
    """
    return Profile(schedule=schedule, names=names, lines=lines, keep=keep)


class Profile:
    """What :func:`profile` records. It is to be used in a ``with`` block, once.

    The first step begins with the block, each further one where :meth:`step` ends the one before.
    What comes after the last :meth:`step` is no whole step and is left out; without any
    :meth:`step` the block is one step. What comes between :meth:`pause` and :meth:`resume`, as an
    evaluation or the next batch, is in no step.

    An exception ends the recording; what was recorded of its step is :attr:`partial`, and the
    attribute ``trace`` of the exception.
    """

    def __init__(
        self,
        *,
        schedule: Schedule | None,
        names: Mapping[str, Any] | None,
        lines: bool,
        keep: int | None,
    ) -> None:
        if schedule is not None and not callable(schedule):
            raise InvalidTypeError(
                f"schedule must be a function such as torch.profiler.schedule(...) makes, got "
                f"{schedule!r}"
            )
        if names is not None and not isinstance(names, Mapping):
            raise InvalidTypeError(f'names must be a mapping such as {{"G": G}}, got {names!r}')
        self._keep = None if keep is None else check_positive_integer("keep", keep)
        self._schedule = schedule
        self._recording = Recording(
            timed=True, names=Names(names, look=True), lines=Lines(wanted=lines)
        )
        self._number = 0
        self._stretch: ExitStack | None = None
        self._state = "new"
        self._traces: list[tuple[int, Trace]] = []
        self._forgotten: list[StepSummary] = []
        self._partial: Trace | None = None
        self._said = False
        self._unused: set[str] = set()
        self._thread = 0

    def __enter__(self) -> Self:
        if self._state != "new":
            raise PhaseError("this profile was used before: make a new one with mpt.profile()")
        if _RUNNING:
            raise PhaseError(
                "another profile runs already: end its with block first, or use that one, which "
                "sees all that the program does"
            )
        _RUNNING.append(self)
        self._thread = threading.get_ident()
        try:
            if self._is_wanted():
                self._start()
        except BaseException:
            self._close()
            raise
        self._state = "open"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        if self._state == "closed":  # a process that was forked off inside the block
            return
        self._check_thread()
        try:
            if self._stretch is not None:
                self._end(error)
        finally:
            self._close()

    def _close(self) -> None:
        self._state = "closed"
        _RUNNING.remove(self)
        self._stop()

    def _check_thread(self) -> None:
        if threading.get_ident() != self._thread:
            raise PhaseError(
                "this profile records the thread in which its with block began: call step() there, "
                "and leave the block there"
            )
        if torch._C._current_graph_task_id() != -1:
            raise PhaseError(
                "a step ends in the midst of a backward pass: end it before or after, not in a hook"
            )

    def __repr__(self) -> str:
        count = len(self._forgotten) + len(self._traces)
        return f"<Profile {self._state}, step {self._number}, {count} recorded>"

    def step(self) -> None:
        """The step is over, and the next one begins.

        Raises:
            PhaseError: outside of the ``with`` block.
        """
        if self._state != "open":
            raise PhaseError(f"this profile is {self._state}: call step() in its with block")
        self._check_thread()
        was_recorded = self._stretch is not None
        if was_recorded:
            self._take()
        self._number += 1
        if not self._is_wanted():
            self._stop()
        elif was_recorded:
            self._recording.begin_step(self._number)
        else:
            self._start()

    def pause(self) -> Trace | None:
        """The step is over, and the next one begins where :meth:`resume` is called.

        Returns:
            The trace of the step; ``None`` if it was not recorded.

        Raises:
            PhaseError: outside of the ``with`` block, or paused already.
        """
        if self._state != "open":
            raise PhaseError(f"this profile is {self._state}: call pause() where a step ends")
        self._check_thread()
        taken = self._take() if self._stretch is not None else None
        self._stop()
        self._number += 1
        self._state = "paused"
        return taken

    def resume(self) -> None:
        """The next step begins.

        Raises:
            PhaseError: not paused.
        """
        if self._state != "paused":
            raise PhaseError(f"this profile is {self._state}: call resume() after pause()")
        self._state = "open"
        if self._is_wanted():
            self._start()

    def phase(self, name: str) -> AbstractContextManager[None]:
        """A part of the loop with a name of your own: ``with prof.phase("critic"):``.

        The phases in it are called "critic/forward", "critic/backward" and so on.

        Raises:
            InvalidTypeError: the name is no text, or empty.
        """
        if not isinstance(name, str) or not name:
            raise InvalidTypeError(f"the name of a phase must be a text, got {name!r}")
        return self._recording.phases.named(name)

    @property
    def traces(self) -> list[Trace]:
        """One for each recorded step."""
        return [trace for _, trace in self._traces]

    @property
    def trace(self) -> Trace:
        """That of the last whole step.

        Raises:
            PhaseError: no step was recorded.
        """
        if not self._traces:
            raise PhaseError(
                "no whole step was recorded: call step() at the end of each, and look whether the "
                "schedule asks for one"
            )
        return self._traces[-1][1]

    @property
    def partial(self) -> Trace | None:
        """That of the step which an exception broke off; ``None`` if none did."""
        return self._partial

    def steps(self) -> "pd.DataFrame":
        """A row for each recorded step: see :func:`memprop.traces.steps.steps_table`."""
        rows = [StepSummary.of(trace, number) for number, trace in self._traces]
        return steps_table([*self._forgotten, *rows])

    def growth(self) -> "pd.DataFrame":
        """What is alive now and was made in an earlier step, the most bytes first.

        Parameters, the gradients that they have now, buffers and the state of optimizers are left
        out. The columns are those of :func:`memprop.traces.steps.growth_table`.
        """
        return growth_table(self._recording.survivors())

    def _is_wanted(self) -> bool:
        return self._schedule is None or self._schedule(self._number) in _RECORDED

    def _start(self) -> None:
        """Begin to record, with the step that begins."""
        with ExitStack() as stack:
            stack.enter_context(self._recording.hooked())
            self._recording.begin_step(self._number, first=True)
            stack.enter_context(pushed(self._recording.ledger))
            self._stretch = stack.pop_all()

    def _stop(self) -> None:
        """Stop recording."""
        stretch, self._stretch = self._stretch, None
        if stretch is not None:
            stretch.close()
            self._recording.ledger.storages.rest()

    def _end(self, error: BaseException | None) -> None:
        """The block ends while a step is recorded."""
        if error is not None:
            self._partial = self._recording.partial()
        elif self._number == 0:
            self._take()
        self._stop()
        if error is not None:
            keep_trace(error, self._partial)

    def _take(self) -> Trace | None:
        """Take the trace of the step that ends; ``None`` if nothing happened in it."""
        if not len(self._recording):
            return None
        self._recording.given.gradients()
        unused = list(self._recording.unused.found())
        told = {"more": {"unused_graphs": ", ".join(map(_called, unused))}} if unused else {}
        trace = self._recording.trace(**self._recording.seen(), **told)
        trace = self._recording.ordered(trace)
        self._traces.append((self._number, trace))
        self._say_what_was_compiled()
        self._say_what_was_unused(unused)
        if self._keep is not None and len(self._traces) > self._keep:
            number, oldest = self._traces.pop(0)
            self._forgotten.append(StepSummary.of(oldest, number))
        return trace

    def _say_what_was_compiled(self) -> None:
        if self._said or not (self._recording.modules.compiled or self._recording.lines.compiled):
            return
        self._said = True
        warnings.warn(
            "parts of this program are compiled by torch.compile, which PyTorch runs uncompiled "
            "while a step is recorded: the trace is of the program as it was written",
            stacklevel=4,
        )

    def _say_what_was_unused(self, found: Iterable[tuple[str, str]]) -> None:
        for call in found:
            if call[0] not in self._unused:
                self._unused.add(call[0])
                warnings.warn(
                    f"{_called(call)} ran with gradients, and no backward pass used its graph: run "
                    "it under torch.no_grad(), which keeps nothing for backward",
                    stacklevel=4,
                )


def _called(call: tuple[str, str]) -> str:
    """The name of a module, with the line that called it."""
    name, line = call
    return f"{name} ({line})" if line else name
