"""The BLAS library: which kernels it uses, against what the CPU can run."""

from collections.abc import Iterator, Mapping
from typing import Final

from memprop.doctor.finding import GOOD, NOTICE, PROBLEM, Finding
from memprop.machine.blas import Blas
from memprop.machine.check import MARGIN, Check, Rates
from memprop.machine.choice import OFF, SWITCH
from memprop.machine.race import CORE_TYPE

SECTION: Final = "BLAS"


def findings(
    blas: Blas, check: Check | None, no_choice: str, environment: Mapping[str, str]
) -> Iterator[Finding]:
    """Findings about the library and its kernels.

    Args:
        blas: the library, as it is loaded in this process.
        check: what was measured; ``None`` if nothing was.
        no_choice: why the kernels of this library cannot be chosen; "" if they can.
        environment: the variables of this process.
    """
    kernels = f", with its kernels for {blas.core_type}" if blas.core_type else ""
    yield Finding(SECTION, GOOD, f"NumPy multiplies with {blas.name} {blas.version}{kernels}.")
    if check is None:
        yield _not_measured()
        return
    yield from _rates(check)
    if check.own.failure:
        yield _failed(check.own.failure)
    elif no_choice:
        yield Finding(SECTION, GOOD, f"There is no core type to choose: {no_choice}.")
    else:
        yield _verdict(blas, check, environment.get(CORE_TYPE, ""))


def _not_measured() -> Finding:
    says = f"Kernels were not measured, because {SWITCH} is {OFF}."
    return Finding(SECTION, NOTICE, says, "memprop doctor --fresh measures them in spite of it.")


def _failed(failure: str) -> Finding:
    says = f"Products could not be measured: {failure}."
    return Finding(SECTION, PROBLEM, says, "See whether `python -c 'import numpy'` works.")


def _rates(check: Check) -> Iterator[Finding]:
    """A line for each core type that was measured, and for each that crashed."""
    for rates in check.measured:
        each = ", ".join(f"{rate:.0f} in {dtype}" for dtype, rate in rates.gflops.items())
        own = " (the library's own choice)" if rates is check.own else ""
        name = rates.core_type or "kernels unknown by name"
        says = f"{name}{own}: {each}, in GFLOP/s of one core."
        yield Finding(SECTION, GOOD, says)
    for rates in check.candidates:
        if rates.core_type == "" and rates.failure:
            says = f"{rates.asked} could not be measured: {rates.failure}."
            yield Finding(SECTION, NOTICE, says, "Do not set it.")


def _verdict(blas: Blas, check: Check, asked: str) -> Finding:
    """Whether the kernels in use are the best of those that were measured."""
    best = check.best
    used = check.rates_of(blas.core_type)
    if used is not None and best.times(used) < MARGIN:
        return Finding(
            SECTION,
            GOOD,
            f"No other core type is clearly faster than {used.core_type or 'these kernels'}.",
        )
    return Finding(SECTION, NOTICE, _slower(blas, best, used, asked), _remedy(check, best, asked))


def _slower(blas: Blas, best: Rates, used: Rates | None, asked: str) -> str:
    whose = f"{CORE_TYPE}={asked} is set" if asked else f"The library takes {blas.core_type}"
    if used is None:
        return f"{whose}, and was not measured; the fastest here is {best.core_type}."
    return f"{whose}, and {best.core_type} is {best.times(used):.2f} times as fast here."


def _remedy(check: Check, best: Rates, asked: str) -> str:
    if best is check.own and asked:
        return f"unset {CORE_TYPE}"
    also = "" if asked else " (profile and sweep do so themselves)"
    return f"export {CORE_TYPE}={best.asked}{also}"
