"""How one trial is run somewhere: the contract of an executor.

An executor is a function from a trial to the row of its results. It returns a row whatever becomes
of the trial: the row starts with the trial's axes, ``status`` is one of :data:`STATUSES`, and
``message`` says in one line what went wrong. An executor that raises is itself broken and stops
the sweep.
"""

from collections.abc import Callable
from typing import Any, Final

from memprop.sweep.plan import Trial

Row = dict[str, Any]
"""Column -> value, of types that JSON has."""

Execute = Callable[[Trial], Row]

STATUSES: Final = ("ok", "oom", "timeout", "killed", "error")
"""What can become of a trial: measured, out of memory, too slow, killed by a signal, anything else
that went wrong."""
