"""Which phases are open, and the samples taken when each began and ended."""

import threading
import time
from contextlib import ContextDecorator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from memprop.errors import InvalidTypeError, InvalidValueError, PhaseError
from memprop.profiler.tracing import Sample
from memprop.terms import OUTSIDE, PHASES

if TYPE_CHECKING:
    from memprop.profiler.profiler import Profiler

CANONICAL: Final = PHASES[1:-1]
"""forward, loss, backward, update: the phases of a step that have a meaning of their own."""

_RESERVED: Final = (PHASES[0], PHASES[-1], OUTSIDE)


@dataclass(frozen=True)
class Boundary:
    """The moment at which a phase begins or ends, and the stretch that ends there.

    Attributes:
        path: the phases that were open in the stretch, outermost first.
        sample: what tracemalloc saw.
        watched_bytes: what lived of watched arrays.
        unseen_bytes: bytes of NumPy that no watched array accounts for.
        nanoseconds: on the clock of ``time.perf_counter_ns``.
    """

    path: tuple[str, ...]
    sample: Sample
    watched_bytes: int
    unseen_bytes: int
    nanoseconds: int


@dataclass
class Visit:
    """One visit to a phase: the boundaries at which it began and ended."""

    path: tuple[str, ...]
    entry: int
    exit: int | None = None


@dataclass
class PhaseLog:
    """The phases of one profile. They are opened by one thread at a time.

    Attributes:
        current: the phase under which events are recorded now.
    """

    boundaries: list[Boundary] = field(default_factory=list)
    visits: list[Visit] = field(default_factory=list)
    stack: list[tuple["Phase", Visit]] = field(default_factory=list)
    thread: int = 0
    current: str = PHASES[0]

    @property
    def path(self) -> tuple[str, ...]:
        """The open phases, outermost first."""
        return self.stack[-1][1].path if self.stack else ()

    def entered(self, phase: "Phase") -> None:
        """``phase`` begins at the last boundary."""
        if not self.stack:
            self.thread = threading.get_ident()
        visit = Visit((*self.path, phase.name), len(self.boundaries) - 1)
        self.visits.append(visit)
        self.stack.append((phase, visit))
        self.current = label(visit.path)

    def exited(self) -> None:
        """The innermost phase ends at the last boundary."""
        self.stack.pop()[1].exit = len(self.boundaries) - 1
        self.current = label(self.path) if self.stack else OUTSIDE

    def stepped(self) -> None:
        """A step of a loop ends: what was there before the first phase is there no longer."""
        if self.current == PHASES[0]:
            self.current = OUTSIDE

    def check_may_step(self) -> None:
        """Raise PhaseError where a step cannot end: inside of one of its parts."""
        if self.stack and self.thread != threading.get_ident():
            raise PhaseError(
                f"step() is called in one thread while {self.path[-1]!r} is open in another: "
                "call it in the thread that opens the phases"
            )
        inside = next((name for name in self.path if name in CANONICAL), None)
        if inside is not None:
            raise PhaseError(
                f"step() ends a step while its phase {inside!r} is open: call it when "
                f"{inside!r} has ended"
            )

    def check_may_enter(self, phase: "Phase") -> None:
        """Raise PhaseError if another thread has a phase open."""
        if self.stack and self.thread != threading.get_ident():
            raise PhaseError(
                f"phase {phase.name!r} begins in one thread while {self.path[-1]!r} is open in "
                "another: open phases in one thread, or give each thread a profiler of its own"
            )

    def check_may_exit(self, phase: "Phase") -> None:
        """Raise PhaseError unless ``phase`` is the innermost one that is open."""
        if not self.stack:
            raise PhaseError(f"phase {phase.name!r} ends, but it was not entered")
        if self.stack[-1][0] is not phase:
            raise PhaseError(
                f"phase {phase.name!r} ends while {self.path[-1]!r} is open inside it: "
                f"end {self.path[-1]!r} first"
            )


class Phase(ContextDecorator):
    """A part of a program: a context manager and a decorator, which may be entered again and again.

    Made by :meth:`memprop.Profiler.phase`.
    """

    def __init__(self, profiler: "Profiler", name: str) -> None:
        self.name = name
        self._profiler = profiler

    def __enter__(self) -> "Phase":
        self._profiler._enter(self)
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self._profiler._exit(self, failed=kind is not None)


def label(path: tuple[str, ...]) -> str:
    """The phase of a trace that stands for nested ones.

    The innermost of forward, loss, backward and update; the innermost of all if none is there.
    """
    return next((name for name in reversed(path) if name in CANONICAL), path[-1])


def check_phase_name(name: object) -> str:
    """``name`` if a phase may be called so.

    Raises:
        InvalidTypeError: not a string.
        InvalidValueError: empty, with a slash in it, or a name that memprop uses itself.
    """
    if not isinstance(name, str):
        raise InvalidTypeError(f"a phase is named by a string such as 'forward', got {name!r}")
    if not name.strip() or "/" in name or name in _RESERVED:
        raise InvalidValueError(
            f"a phase cannot be called {name!r}: choose a name without '/', other than "
            f"{', '.join(_RESERVED)}"
        )
    return name


def now() -> int:
    """The time in nanoseconds."""
    return time.perf_counter_ns()
