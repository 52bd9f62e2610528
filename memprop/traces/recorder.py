"""A trace in the making: what the adapters to other frameworks write into, event by event."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from memprop.errors import InvalidValueError
from memprop.terms import PHASES
from memprop.traces.about import About
from memprop.traces.events import (
    ALLOCATE,
    FREE,
    READ,
    Events,
    TracedOperator,
    TracedVariable,
)
from memprop.traces.trace import Trace


class Recorder:
    """Collects variables, operators and events, and makes a :class:`Trace` of them.

    Variables, operators and phases are numbered in the order in which they are added. Names that
    come again get a number: ``relu``, ``relu#2``. What is only learned later (that an activation
    was the gradient of a parameter after all) is set by :meth:`rename`.
    """

    def __init__(self) -> None:
        self.variables: list[TracedVariable] = []
        self.operators: list[TracedOperator] = []
        self.phases: list[str] = list(PHASES)
        self._events: list[tuple[int, ...]] = []
        self._names: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
        self._flops: dict[int, int] = {}

    def variable(
        self,
        name: str,
        category: str,
        shape: tuple[int, ...],
        dtype: str,
        size: int,
        *,
        site: str = "",
        layer: int | None = None,
        guessed: bool = False,
        device: str = "",
        line: str = "",
    ) -> int:
        """Introduce a variable of ``size`` bytes; returns its number."""
        name = _unique(name, self._names[0])
        self.variables.append(
            TracedVariable(
                name,
                category,
                layer,
                shape,
                dtype,
                size,
                site,
                guessed=guessed,
                device=device,
                line=line,
            )
        )
        return len(self.variables) - 1

    def operator(
        self,
        name: str,
        phase: str,
        *,
        site: str = "",
        layer: int | None = None,
        flops: int | None = None,
    ) -> int:
        """Introduce an operator that runs in ``phase``; returns its number."""
        self.phase(phase)
        name = _unique(name, self._names[1])
        self.operators.append(TracedOperator(name, phase, layer, site, flops))
        return len(self.operators) - 1

    def add_flops(self, operator: int, flops: int) -> None:
        """Add to the floating-point operations of an operator that calls several kernels."""
        self._flops[operator] = self._flops.get(operator, 0) + flops

    def phase(self, name: str) -> int:
        """The number of a phase, new ones after those of :data:`memprop.terms.PHASES`."""
        if name not in self.phases:
            self.phases.append(name)
        return self.phases.index(name)

    def rename(self, variable: int, **changes: Any) -> None:
        """Change fields of a variable: its name, category or site."""
        if "name" in changes:
            changes["name"] = _unique(changes["name"], self._names[0])
        self.variables[variable] = replace(self.variables[variable], **changes)

    def allocate(
        self, variable: int, storage: int, size: int, phase: str, operator: int = -1, at: int = -1
    ) -> None:
        """``variable`` comes to life in a storage of ``size`` bytes, new or already alive.

        Args:
            variable: its number.
            storage: the number of the buffer.
            size: bytes of the buffer.
            phase: the name of the phase.
            operator: the number of the operator that runs; -1 if none does.
            at: nanoseconds since the step began; -1 where nothing is run.
        """
        self._event(ALLOCATE, variable, storage, size, phase, operator, at)

    def read(
        self, variable: int, storage: int, size: int, phase: str, operator: int = -1, at: int = -1
    ) -> None:
        """``operator`` reads ``variable``; arguments as in :meth:`allocate`."""
        self._event(READ, variable, storage, size, phase, operator, at)

    def free(
        self, variable: int, storage: int, size: int, phase: str, operator: int = -1, at: int = -1
    ) -> None:
        """``variable`` dies; arguments as in :meth:`allocate`."""
        self._event(FREE, variable, storage, size, phase, operator, at)

    def _event(
        self, kind: int, variable: int, storage: int, size: int, phase: str, operator: int, at: int
    ) -> None:
        where = self.phase(phase)
        self._events.append((kind, where, operator, variable, storage, size, at))

    def __len__(self) -> int:
        return len(self._events)

    def trace(
        self, about: Mapping[str, Any] | None = None, outputs: Mapping[str, Any] | None = None
    ) -> Trace:
        """The trace of everything added so far.

        Raises:
            InvalidValueError: nothing was added.
        """
        if not self._events:
            raise InvalidValueError("nothing was recorded: no variable was allocated or read")
        operators = list(self.operators)
        for number, flops in self._flops.items():
            known = operators[number]
            operators[number] = TracedOperator(
                known.name, known.phase, known.layer, known.site, (known.flops or 0) + flops
            )
        return Trace(
            events=Events(*np.array(self._events, dtype=np.int64).T),
            variables=tuple(self.variables),
            operators=tuple(operators),
            phases=tuple(self.phases),
            about=About.of(about or {}),
            outputs=outputs,
        )


def _unique(name: str, seen: Counter[str]) -> str:
    seen[name] += 1
    if seen[name] == 1:
        return name
    while seen[numbered := f"{name}#{seen[name]}"]:
        seen[name] += 1
    seen[numbered] += 1
    return numbered
