"""The profiler of any NumPy code: what users type."""

import warnings
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from memprop.errors import PhaseError
from memprop.profiler import html, tables, watching
from memprop.profiler.foreign import Foreign, warning_of
from memprop.profiler.ledger import Ledger
from memprop.profiler.phases import Boundary, Phase, PhaseLog, check_phase_name, now
from memprop.profiler.sampled import sampled_trace
from memprop.profiler.tracing import TRACING, sample
from memprop.traces.about import About
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

    tracemalloc runs from the first phase until :meth:`close`, the end of ``with mp.Profiler() as
    prof:``, an exception that leaves the outermost phase, or the end of the profiler's own life,
    and longer only if it ran before. What was recorded stays readable.

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
        self._closed = False

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        blind = f", not of {self._foreign.names}" if self._foreign.found else ""
        counts = f"{len(self._log.visits)} phases, {len(self._ledger)} events{blind}"
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
        about = About(
            framework="numpy",
            version=np.__version__,
            run="real",
            device="cpu",
            source="watched" if len(self._ledger) else "tracemalloc",
            unseen=self._foreign.names if self._foreign.found else None,
            open="/".join(self._log.path) or None,
        )
        if len(self._ledger):
            return self._ledger.trace(about)
        return sampled_trace(self._log, about)

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
        if self._stop is None:
            TRACING.begin()
            self._stop = weakref.finalize(self, TRACING.end)
        self._mark(lambda: self._foreign.begins((*self._log.path, phase.name)))
        self._log.entered(phase)

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
