"""How trials are run somewhere: the contract of an executor.

An executor is called with a trial and returns the row of its results, whatever becomes of the
trial: the row starts with the trial's axes, ``status`` is one of
:data:`memprop.sweep.outcome.STATUSES`, and ``message`` says in one line what went wrong. An
executor that raises is itself broken and stops the sweep. It may be called in several threads.
"""

from collections.abc import Callable

from memprop.sweep.outcome import Row
from memprop.sweep.plan import Trial

Execute = Callable[[Trial], Row]
