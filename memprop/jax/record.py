"""Flat steps as the events of a Trace."""

from memprop.jax.liveness import deaths
from memprop.jax.passes import Passes
from memprop.jax.program import Step, Value
from memprop.traces.recorder import Recorder


def record(passes: Passes) -> Recorder:
    """The events of both passes; arguments, loss, aux and gradients outlive the step."""
    recording = _Recording(passes)
    for value in passes.parameters:
        recording.given(value, "parameter")
    for value in passes.inputs:
        recording.given(value, "input")
    steps = [("forward", step) for step in passes.forward.steps]
    steps += [("backward", step) for step in passes.backward.steps]
    outlive = [*passes.forward.outputs, *passes.backward.outputs]
    dying = deaths([step for _, step in steps], outlive)
    for number, (phase, step) in enumerate(steps):
        recording.step(step, phase, dying[number])
    return recording.recorder


class _Recording:
    """The numbers that values have in the trace, and their categories and names there."""

    def __init__(self, passes: Passes) -> None:
        self.recorder = Recorder()
        self._numbers: dict[Value, int] = {}
        self._recomputed = passes.recomputed
        gradients = zip(passes.backward.outputs, passes.parameters, strict=True)
        self._gradients = {
            gradient: f"gradient of {parameter.name}" for gradient, parameter in gradients
        }
        self._names = {passes.forward.outputs[0]: "loss", **self._gradients}

    def given(self, value: Value, category: str) -> None:
        """``value`` is there before the step."""
        self._introduce(value, value.name, category, "")
        self.recorder.allocate(*self._place(value), "setup")

    def step(self, step: Step, phase: str, dying: list[Value]) -> None:
        """``step`` runs, and some values die after it."""
        operator = self.recorder.operator(step.operator, phase, site=step.site)
        for value in step.reads:
            self.recorder.read(*self._place(value), phase, operator)
        for value in step.makes:
            name = self._names.get(value, value.name)
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
        if value in self._gradients:
            return "parameter_gradient"
        if value.scratch:
            return "workspace"
        if phase == "forward" or value in self._recomputed:
            return "activation"
        return "activation_gradient"
