"""Which core type the processes that memprop starts are to use, and who chose it.

The user's own ``OPENBLAS_CORETYPE`` always holds. ``MEMPROP_BLAS=off`` leaves the choice to the
library. Otherwise it is measured, once for each machine, for a guess may crash or be slower.
"""

import os
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from memprop.errors import InvalidValueError
from memprop.machine.blas import Blas, blas_of_numpy
from memprop.machine.cache import key_of, remember, remembered
from memprop.machine.check import Check, Rates
from memprop.machine.core_types import nothing_to_choose, runnable
from memprop.machine.cpu import Cpu, this_cpu
from memprop.machine.race import CORE_TYPE, measure

SWITCH: Final = "MEMPROP_BLAS"
"""The variable that says who chooses."""

OFF: Final = "off"
MEASURED: Final = "measured"
"""The variables that memprop sets, with the core type, for the processes that it starts."""


@dataclass(frozen=True)
class Choice:
    """A core type for processes to come.

    Attributes:
        core_type: what OPENBLAS_CORETYPE is to be; "" to leave the library alone.
        by: "user", "measured", or "library" if nothing was to be chosen.
        reason: why, as half a sentence.
        check: what was measured, if anything.
    """

    core_type: str
    by: str
    reason: str
    check: Check | None = None

    @property
    def variables(self) -> Mapping[str, str]:
        """The environment variables for a process to be started."""
        if self.by != MEASURED or not self.core_type:
            return {}
        return {CORE_TYPE: self.core_type, SWITCH: MEASURED}


def chosen() -> Choice:
    """The choice for this machine; the first time it takes some seconds, and says so on stderr.

    Raises:
        InvalidValueError: MEMPROP_BLAS has a value that means nothing.
    """
    switch, own = os.environ.get(SWITCH, ""), os.environ.get(CORE_TYPE, "")
    if switch not in ("", OFF, MEASURED):
        raise InvalidValueError(f"{SWITCH} must be '{OFF}' or not set, got {switch!r}")
    cpu, blas = this_cpu(), blas_of_numpy()
    if own and switch == MEASURED:
        return Choice(own, MEASURED, "measured before", remembered(key_of(cpu, blas)))
    if own:
        return Choice(own, "user", f"{CORE_TYPE} is set")
    return by_measurement(cpu, blas)


def by_measurement(cpu: Cpu, blas: Blas) -> Choice:
    """The choice by the check alone, whatever core type a shell has set."""
    off = os.environ.get(SWITCH) == OFF
    if reason := f"{SWITCH} is {OFF}" if off else nothing_to_choose(cpu, blas):
        return Choice("", "library", reason)
    return choice_of(known_check(cpu, blas))


def choice_of(check: Check) -> Choice:
    """The choice that follows from a check: the fastest core type, or the library's own."""
    best = check.best
    if not check.own.gflops:
        return Choice("", "library", f"nothing was measured: {check.own.failure}", check)
    if best is check.own:
        return Choice("", MEASURED, "no other core type is clearly faster", check)
    reason = f"{best.times(check.own):.2f} times as fast as {check.own.core_type}"
    return Choice(best.asked, MEASURED, reason, check)


_lock = threading.Lock()
_known: dict[str, Check] = {}


def known_check(cpu: Cpu, blas: Blas, *, fresh: bool = False) -> Check:
    """The check of this machine: from this process, from the cache, or made now.

    Args:
        cpu: this machine's.
        blas: NumPy's.
        fresh: make it now in any case.
    """
    key = key_of(cpu, blas)
    with _lock:  # threads that need it at the same time wait for one check
        known = None if fresh else _known.get(key) or remembered(key)
        _known[key] = known or _made(cpu, blas, key)
        return _known[key]


def _made(cpu: Cpu, blas: Blas, key: str) -> Check:
    _tell("measuring which BLAS kernels suit this CPU, once: about 2 s")
    try:
        check = measure(() if nothing_to_choose(cpu, blas) else runnable(cpu))
    except OSError as error:
        check = Check(Rates("", failure=f"no process could be started: {error.strerror}"))
    _tell(f"BLAS kernels: {summary(check)}")
    if check.own.gflops:
        remember(key, check)
    return check


def summary(check: Check) -> str:
    """The result of a check in one sentence, without a full stop."""
    choice = choice_of(check)
    if choice.core_type:
        return f"{choice.core_type}, {choice.reason}, which the library takes by itself"
    own = check.own.core_type or "the library"
    return f"{own}, the library's own choice: {choice.reason}"


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")
