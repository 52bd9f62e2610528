"""Every error that memprop raises on purpose.

::

    MempropError
    ├── InvalidValueError (ValueError)     an argument of the right type with an impossible value
    │   ├── UnknownNameError               a name that is not in a known list; suggests the nearest
    │   ├── DataError                      a data file or array that cannot be learned from
    │   └── SpecError                      a sweep specification that cannot be run
    ├── InvalidTypeError (TypeError)       an argument of the wrong type
    ├── GraphError (ValueError)            a graph that is not well formed
    │   └── RegistrationError              an entry of a registry whose name is taken or impossible
    ├── OperatorCheckError                 an operator that does not compute what it declares
    ├── ScheduleError (ValueError)         a schedule that cannot be run on its graph
    │   ├── DeadReadError                  reads a variable that is not live
    │   ├── DoubleFreeError                frees a variable that is not live
    │   ├── LeakError                      leaves a variable alive at the end of the step
    │   └── InfeasibleBudget               a budget that no schedule can keep to
    ├── PhaseError (RuntimeError)          phases of a profiler that end or are used out of order
    ├── TraceFormatError (ValueError)      a file that is no trace, or a damaged one
    ├── UserCodeError                      a function of the user's that failed while profiled
    ├── MissingExtraError (ImportError)    an optional package that is not installed
    └── OutputError (OSError)              a place that cannot be written
        └── FolderInUseError               a folder in which another sweep runs

A message names the offending value, what was expected, and what to do.
"""

import difflib
from collections.abc import Iterable


class MempropError(Exception):
    """The root of all errors of memprop: catch this one to catch them all."""


class InvalidValueError(MempropError, ValueError):
    """An argument of the right type with an impossible value."""


class UnknownNameError(InvalidValueError):
    """A name that is not in a known list."""


class DataError(InvalidValueError):
    """A data file or array that cannot be learned from."""


class SpecError(InvalidValueError):
    """A sweep specification that cannot be run."""


class InvalidTypeError(MempropError, TypeError):
    """An argument of the wrong type."""


class GraphError(MempropError, ValueError):
    """A graph that is not well formed."""


class RegistrationError(GraphError):
    """An entry of a registry whose name is taken or impossible."""


class OperatorCheckError(MempropError):
    """An operator that does not compute what its rule declares."""


class ScheduleError(MempropError, ValueError):
    """A schedule that cannot be run on its graph."""


class DeadReadError(ScheduleError):
    """An operator reads a variable that is not live."""


class DoubleFreeError(ScheduleError):
    """A variable is freed that is not live."""


class LeakError(ScheduleError):
    """A variable is still alive at the end of the step though nobody asked for it."""


class InfeasibleBudget(ScheduleError):  # noqa: N818 - the name that users type
    """A budget that no schedule can keep to.

    Attributes:
        budget: the bytes that were asked for.
        smallest: the bytes of the smallest budget that can be kept to.
    """

    def __init__(self, message: str, budget: int, smallest: int) -> None:
        super().__init__(message)
        self.budget = budget
        self.smallest = smallest


class PhaseError(MempropError, RuntimeError):
    """Phases of a profiler that end in the wrong order, or are used when it is closed."""


class TraceFormatError(MempropError, ValueError):
    """A file that is no trace, or a damaged one."""


class UserCodeError(MempropError):
    """A function of the user's own that failed while it was profiled."""


class MissingExtraError(MempropError, ImportError):
    """An optional package that is not installed."""


class OutputError(MempropError, OSError):
    """A place that cannot be written."""


class FolderInUseError(OutputError):
    """A folder in which another sweep runs."""


def unknown_name(what: str, given: object, known: Iterable[str]) -> UnknownNameError:
    """The error for a name that is not in a list: names the nearest and lists all.

    >>> str(unknown_name("activation", "rleu", ["relu", "tanh"]))
    "unknown activation 'rleu': did you mean 'relu'? Known: relu, tanh"
    """
    names = list(known)
    nearest = difflib.get_close_matches(str(given), names, n=1)
    hint = f": did you mean '{nearest[0]}'? " if nearest else ". "
    return UnknownNameError(f"unknown {what} {given!r}{hint}Known: {', '.join(names)}")
