"""The fixture ``memory_trace``: a step against the budget that was recorded for it."""

from typing import Any

import pytest

from memprop.engine.prepare import Model
from memprop.engine.step import simulate
from memprop.errors import InvalidValueError
from memprop.traces.trace import Trace
from memprop.units import format_bytes
from pytest_memprop import budgets
from pytest_memprop.stash import NOTE, TRACES, Written


class MemoryTrace:
    """Checks steps of one test against recorded budgets."""

    def __init__(self, item: pytest.Item, written: Written) -> None:
        self._item = item
        self._written = written
        item.stash[TRACES] = []

    def __call__(
        self,
        step: Trace | Model,
        batch: int | None = None,
        *,
        name: str = "step",
        tolerance: float | None = None,
        **how: Any,
    ) -> Trace:
        """The trace of ``step``, if its peak is within the budget; else the test fails.

        Args:
            step: a trace, or a model of memprop's, whose step is simulated.
            batch: samples per step of a model; together with the options of ``mp.simulate``.
            name: tells several steps of one test apart.
            tolerance: by what share the peak may grow; ``memprop_tolerance`` of the configuration
                if not given, which is 0 if not set.
            how: schedule, mode, optimizer, update, for a model.

        Raises:
            InvalidValueError: two steps of a test have the same name, or the tolerance is none.
        """
        trace = _trace(step, batch, how)
        traces = self._item.stash[TRACES]
        if name in dict(traces):
            raise InvalidValueError(f"two steps of one test are called {name!r}: give each a name")
        traces.append((name, trace))
        self._check(trace, f"{self._test()}[{name}]", self._tolerance(tolerance))
        return trace

    def _check(self, trace: Trace, key: str, tolerance: float) -> None:
        path = self._item.path.with_name(budgets.FILE)
        record = budgets.record_of(trace)
        if self._item.config.getoption("--memprop-update"):
            self._written.add({str(path): {key: record}})
            return
        old = budgets.read(path).get(key)
        if old is None:
            pytest.fail(
                f"no budget is recorded for {key} in {path.name}: its peak is "
                f"{format_bytes(trace.peak)}; record it with pytest --memprop-update",
                pytrace=False,
            )
        if trace.peak > old["peak"] * (1 + tolerance):
            pytest.fail(
                f"{key} needs more memory than its budget:\n{budgets.growth(old, record)}",
                pytrace=False,
            )
        if trace.peak < old["peak"]:
            note = f"{key} shrank: {budgets.growth(old, record).splitlines()[0]}"
            self._item.user_properties.append((NOTE, f"{note}; --memprop-update records it"))

    def _test(self) -> str:
        return f"{self._item.path.name}::{self._item.nodeid.partition('::')[2]}"

    def _tolerance(self, given: float | None) -> float:
        asked = self._item.config.getini("memprop_tolerance") if given is None else given
        try:
            share = float(asked)
        except (TypeError, ValueError):
            share = -1.0
        if not 0 <= share < float("inf"):
            raise InvalidValueError(f"the tolerance must be a share such as 0.05, got {asked!r}")
        return share


def _trace(step: Trace | Model, batch: int | None, how: dict[str, Any]) -> Trace:
    if not isinstance(step, Trace):
        if batch is None:
            raise InvalidValueError("a model needs a batch size: memory_trace(model, batch=256)")
        return simulate(step, batch, **how)
    if batch is not None or how:
        raise InvalidValueError("a trace is taken as it is: batch and options are for models")
    return step
