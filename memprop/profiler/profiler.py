"""The profiler of any NumPy code: what users type."""

import warnings
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from memprop.errors import PhaseError
from memprop.profiler import html, tables, watching
from memprop.profiler.foreign import Foreign, Framework, warning_of
from memprop.profiler.ledger import Ledger
from memprop.profiler.loop import StepEnd, step_survivors, step_traces
from memprop.profiler.phases import Boundary, Phase, PhaseLog, check_phase_name, now
from memprop.profiler.sampled import sampled_trace
from memprop.profiler.tracing import TRACING, sample
from memprop.traces.about import About
from memprop.traces.steps import StepSummary, growth_table, steps_table
from memprop.traces.trace import Trace

if TYPE_CHECKING:
    import pandas as pd


class Profiler:
    """Where the bytes of any NumPy program go, by phases that you name.

    ::

        prof = mp.Profiler()
        with prof.phase("forward"):
            cache = net.forward(prof.watch(x, "x"))
        with prof.phase("backward"):
            grads = net.backward(cache)
        prof.trace.intermediates()

    Two levels. Without touching the model: :meth:`phases`, :meth:`sites` and :meth:`cached` say
    what NumPy allocated and kept, from tracemalloc. With watched arrays: :attr:`trace` follows
    every array that is computed from them, so that each reuse by backward is known.

    In a loop, :meth:`step` ends a step and begins the next. :meth:`steps` has a row for each,
    :meth:`growth` says what earlier steps have left, :attr:`traces` is a Trace of each::

        for x in batches:
            train(prof.watch(x, "x"))
            prof.step()
        prof.growth()

    tracemalloc runs from the first phase or :meth:`step` until :meth:`close`, the end of ``with
    mp.Profiler() as prof:``, an exception that leaves the outermost phase, or the end of the
    profiler's own life, and longer only if it ran before. What was recorded stays readable.

    Phases named forward, loss, backward and update have the meaning that they have in a training
    step. Events belong to the innermost of these that is open, else to the innermost phase. Events
    before the first phase belong to "setup"; those after it, with no phase open, to "outside".

    Tensors of PyTorch and arrays of JAX lie in memory that neither level sees. Where one of these
    was at work in a phase, a warning says so, and what to use instead.
    """

    def __init__(self) -> None:
        self._log = PhaseLog()
        self._foreign = Foreign()
        log = self._log
        self._ledger = Ledger(lambda: log.current)
        # What was watched may outlive the profiler, and must not be recorded for nobody.
        weakref.finalize(self, self._ledger.close)
        self._stop: weakref.finalize | None = None
        self._ends: list[StepEnd] = []
        self._closed = False

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        blind = f", not of {self._foreign.names}" if self._foreign.found else ""
        steps = f"{len(self._ends)} steps, " if self._ends else ""
        counts = f"{steps}{len(self._log.visits)} phases, {len(self._ledger)} events{blind}"
        return f"<Profiler {state}, {counts}>"

    def phase(self, name: str) -> Phase:
        """A phase: ``with prof.phase("forward"):`` or ``@prof.phase("forward")``.

        Phases nest, and may be entered as often as you like.

        Raises:
            InvalidTypeError, InvalidValueError: no phase can be called so.
        """
        return Phase(self, check_phase_name(name))

    def watch(self, array: Any, name: str, category: str = "input") -> Any:
        """The same array, or lists, tuples and dicts of arrays, watched.

        It shares its memory with ``array``. What is computed from it is watched too. Watching an
        array again gives it another name and category, so that a result can be declared a
        parameter's gradient.

        Results are called as the operation that made them. Their category is "activation" in
        forward and loss, "activation_gradient" in backward, "workspace" elsewhere. Arrays that
        are used together with watched ones come into the account at their first use: as
        "parameter" if they were there before the first phase, else as a result of the phase.

        Args:
            array: a NumPy array of any shape and dtype, or a nesting of lists, tuples and dicts
                with arrays in it; its other contents are left as they are.
            name: its name; arrays inside have the names ``name.key`` or ``name[index]``.
            category: "input", "parameter", "parameter_gradient", ... as in a Trace.

        Raises:
            InvalidTypeError: there is no array; or one of a subclass, such as a masked array.
            InvalidValueError: the name is empty, the category unknown.
            PhaseError: the profiler is closed.
        """
        self._check_open()
        return watching.watch(self._ledger, array, name, category)

    @property
    def trace(self) -> Trace:
        """What happened so far, as a :class:`memprop.Trace`; also while a phase is open.

        With watched arrays: each of their allocations, reads and deaths. Without: what tracemalloc
        saw at the beginning and end of each phase, see :mod:`memprop.profiler.sampled`.
        ``about["source"]`` says which, ``about["open"]`` which phase has not ended yet,
        ``about["unseen"]`` which frameworks were at work whose memory is not in it.

        Raises:
            InvalidValueError: nothing was watched and no phase was entered.
        """
        about = self._about()
        if len(self._ledger):
            return self._ledger.trace(about)
        return sampled_trace(self._log, about)

    def _about(self) -> About:
        return About(
            framework="numpy",
            version=np.__version__,
            run="real",
            device="cpu",
            source="watched" if len(self._ledger) else "tracemalloc",
            unseen=self._foreign.names if self._foreign.found else None,
            open="/".join(self._log.path) or None,
        )

    def step(self) -> None:
        """End a step of a loop, and begin the next.

        The first step begins with the first phase; where there is none, with the first operation
        on a watched array. What was there before is given to the loop. A call before anything was
        watched and any phase was entered has no step to end: it begins the first. So, without
        watching and without phases, the steps are those between two calls.

        Phases that go over several steps, such as "epoch", may be open.

        >>> prof = mp.Profiler()  # doctest: +SKIP
        >>> W = prof.watch(W, "W", category="parameter")  # doctest: +SKIP
        >>> for x, y in batches:  # doctest: +SKIP
        ...     train_step(prof.watch(x, "x"), y, W)
        ...     prof.step()
        >>> prof.steps()[["step", "peak_bytes", "live_bytes", "growth_bytes"]]  # doctest: +SKIP

        Raises:
            PhaseError: forward, loss, backward or update is open; a phase is open in another
                thread; the profiler is closed.
        """
        self._check_open()
        self._log.check_may_step()
        nothing_yet = not self._log.boundaries and not len(self._ledger)
        self._begin_tracing()
        path, new = (*self._log.path, "step()"), list[Framework]()

        def look() -> None:
            new.extend(self._foreign.ends(path))
            self._foreign.begins(path)

        self._mark(look)
        if not nothing_yet:
            self._ends.append(StepEnd(len(self._log.boundaries) - 1, self._ledger.mark()))
        self._log.stepped()
        for framework in new:
            warnings.warn(warning_of(framework, "/".join(path)), stacklevel=2)

    @property
    def traces(self) -> list[Trace]:
        """A Trace for each step that has ended; ``about["step"]`` is its number, from 0.

        A step begins with "setup" events for what is alive then. Names, and the numbers of
        variables and storages, begin anew in each, so that steps in which the same happens are
        equal. Without watched arrays they are of what tracemalloc saw, as :attr:`trace`.
        """
        return step_traces(self._log, self._ledger, self._ends, self._about())

    def steps(self) -> "pd.DataFrame":
        """A row for each step that has ended.

        Columns: ``step``, ``peak_bytes`` (the largest live bytes), ``peak_operator``,
        ``live_bytes`` (at the end of the step), ``growth_bytes`` (how many more that are than at
        the end of the step before; in the first row, than when it began), ``saved_bytes`` (kept
        from forward to backward), ``seconds`` (from its beginning to its last event), and
        ``peak_activation`` and so on, the peak by category.

        With watched arrays, these are the bytes of watched arrays, to the byte. Without, they are
        those of all of NumPy's buffers made since tracing began; the peak counts Python objects
        too, ``saved_bytes`` is 0, and ``peak_operator`` is "setup": what ran is not known.

        :func:`memprop.plot.steps` draws it.
        """
        return self._told(steps_table([StepSummary.of(t, n) for n, t in enumerate(self.traces)]))

    def growth(self) -> "pd.DataFrame":
        """What steps that have ended have left alive: a row for each line that made it.

        Columns: ``bytes``, ``count`` (of buffers), ``steps`` (how many steps have left some: about
        as many as ran for a leak, one for what is made once), ``first_step``, ``category``,
        ``operator`` (that made it), ``module`` ("", NumPy has none), ``line`` (of your code). The
        most bytes first. The last step counts as soon as something was made after it: up to then
        the loop's own variables hold its arrays.

        Left out is what was there before the first step, and what is a parameter, a buffer, a
        parameter's gradient or optimizer state: say so by :meth:`watch`. Numbers are no arrays: a
        list of ``float(loss)`` does not show.

        With watched arrays, what is alive now, or was when the profiler was closed. Without, what
        NumPy held when a phase or step last began or ended; ``operator`` is "" then, categories
        follow from the phases alone, and a buffer that takes the place of one of the same size
        and line counts as that one.
        """
        return self._told(growth_table(step_survivors(self._log, self._ledger, self._ends)))

    def phases(self) -> "pd.DataFrame":
        """A row for each phase, called by its path such as "step/forward".

        Columns: ``entered`` (how often), ``seconds`` (in all); bytes in NumPy's buffers when it
        first began (``entry_bytes``) and last ended (``exit_bytes``); ``allocated_bytes``, of
        buffers that were allocated in it and live at its end, ``other_thread_bytes`` the same of
        other threads; ``traced_peak_bytes``, the largest number of bytes that tracemalloc counted
        during the phase, NumPy's buffers and all Python objects since tracing began;
        ``object_bytes``, what of these were Python objects at its end; ``watched_bytes``, what
        lived of watched arrays at its end, and ``unseen_bytes``, what NumPy held then beyond them.

        A phase that is still open is given up to the last phase that began or ended in it. A
        buffer counts as another thread's if phases are opened in the main thread and the stack
        of its allocation, at most 16 frames deep, starts in another.

        The table's ``attrs["unseen"]`` names frameworks that were at work, as PyTorch: none of
        their memory is in any column. So it is with :meth:`sites` and :meth:`cached`.
        """
        return self._told(tables.phases(self._log))

    def sites(self) -> "pd.DataFrame":
        """What was allocated in each phase and lives at its end: a row per allocation site.

        Columns: ``phase`` (its path, without the phases inside), ``site`` (file and line of the
        innermost frame outside NumPy), ``other_thread`` (whether another thread than the main one
        allocated it), ``bytes``, ``count`` (of buffers).
        """
        return self._told(tables.sites(self._log))

    def cached(self) -> "pd.DataFrame":
        """What the first forward allocated and the first backward after it finds alive.

        From tracemalloc, so without watching anything. Columns: ``site``, ``bytes``, ``count``.
        Other threads' buffers are left out. Forward includes a phase "loss".

        Raises:
            PhaseError: there was no forward, or no backward after it.
        """
        return self._told(tables.cached(self._log))

    def _told(self, table: "pd.DataFrame") -> "pd.DataFrame":
        """``table``, with a note of what it does not show."""
        if self._foreign.found:
            table.attrs["unseen"] = self._foreign.names
        return table

    def close(self) -> None:
        """Stop recording watched arrays, and tracemalloc if the profiler started it.

        Whatever was recorded can be read afterwards. Closing twice does nothing.
        """
        if not self._closed:
            self._closed = True
            self._ledger.close()
            if self._stop is not None:
                self._stop()

    def _enter(self, phase: Phase) -> None:
        self._check_open()
        self._log.check_may_enter(phase)
        self._begin_tracing()
        self._mark(lambda: self._foreign.begins((*self._log.path, phase.name)))
        self._log.entered(phase)

    def _begin_tracing(self) -> None:
        if self._stop is None:
            TRACING.begin()
            self._stop = weakref.finalize(self, TRACING.end)

    def _exit(self, phase: Phase, *, failed: bool) -> None:
        if self._closed:
            return  # closed inside the phase, or by an exception
        self._log.check_may_exit(phase)
        path = self._log.path
        try:
            self._mark()
            self._log.exited()
        finally:
            if failed and not self._log.stack:
                self.close()
        for framework in self._foreign.ends(path):
            warnings.warn(warning_of(framework, "/".join(path)), stacklevel=3)

    def _mark(self, look: Callable[[], None] = lambda: None) -> None:
        """Record what lives now, at the end of a stretch; ``look`` before the next one begins."""
        self._ledger.settle()
        seen = sample()
        look()
        ledger = self._ledger
        unseen = seen.numpy_bytes - ledger.buffers.traced_bytes
        boundary = Boundary(self._log.path, seen, ledger.buffers.bytes, unseen, now())
        self._log.boundaries.append(boundary)

    def _check_open(self) -> None:
        if self._closed:
            raise PhaseError("this profiler is closed: make a new one with mp.Profiler()")

    def _repr_html_(self) -> str:
        return html.profile(self)
