"""A step, laid out flat, as the events of a Trace."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from memprop.jax.layout import Layout, Timed
from memprop.jax.liveness import deaths
from memprop.jax.program import Value
from memprop.traces.recorder import Recorder

_CATEGORIES: Final[Mapping[str, str]] = MappingProxyType(
    {"forward": "activation", "backward": "activation_gradient", "update": "workspace"}
)
"""What the values are that a phase makes, if nothing else is said of them."""


def record(layout: Layout) -> Recorder:
    """The events of a step; what is given stays unless it is donated, what comes out stays."""
    recording = _Recording(layout)
    for value, category in layout.given.items():
        recording.given(value, category)
    steps = [timed.step for timed in layout.steps]
    dying = deaths(steps, layout.outlive, layout.donated)
    for number, timed in enumerate(layout.steps):
        recording.step(timed, dying.get(number, []))
    return recording.recorder


class _Recording:
    """The numbers that values have in the trace, and their categories and names there."""

    def __init__(self, layout: Layout) -> None:
        self.recorder = Recorder()
        self._layout = layout
        self._numbers: dict[Value, int] = {}

    def given(self, value: Value, category: str) -> None:
        """``value`` is there before the step."""
        self._introduce(value, value.name, category, "")
        self.recorder.allocate(*self._place(value), "setup")

    def step(self, timed: Timed, dying: list[Value]) -> None:
        """A step runs, and some values die after it."""
        phase, step = timed
        operator = self.recorder.operator(step.operator, phase, site=step.site, flops=step.flops)
        for value in step.reads:
            self.recorder.read(*self._place(value), phase, operator)
        for value in step.makes:
            name = self._layout.names.get(value, value.name)
            self._introduce(value, name, self._category(value, phase), step.site)
            self.recorder.allocate(*self._place(value), phase, operator)
        for value in dying:
            self.recorder.free(*self._place(value), phase, operator)

    def _introduce(self, value: Value, name: str, category: str, site: str) -> None:
        self._numbers[value] = self.recorder.variable(
            name, category, value.shape, value.dtype, value.bytes, site=site
        )

    def _place(self, value: Value) -> tuple[int, int, int]:
        """The variable, its storage, and the bytes of that."""
        return self._numbers[value], self._numbers[value.storage], value.storage.bytes

    def _category(self, value: Value, phase: str) -> str:
        if value in self._layout.categories:
            return self._layout.categories[value]
        if value.scratch:
            return "workspace"
        return "activation" if value in self._layout.recomputed else _CATEGORIES[phase]
