"""``check_operator``: all that memprop's own tests hold of an operator."""

from collections.abc import Iterator

import numpy as np

from memprop.checking.kernels import Formula, central_differences, check_flops, check_rule, forms
from memprop.engine.step import Step, simulate
from memprop.errors import OperatorCheckError
from memprop.graph.activations import ACTIVATIONS
from memprop.graph.losses import LOSSES
from memprop.graph.optimizers import OPTIMIZERS
from memprop.graph.rules import rule
from memprop.models.mlp import MLP
from memprop.schedules.names import STRATEGIES

_SCHEDULES = tuple(
    strategy.example_name
    for name, strategy in STRATEGIES.items()
    if name != "inference" and not strategy.depends_on_batch
)
_BATCH = 6


def check_operator(name: str, formula: Formula | None = None) -> tuple[str, ...]:
    """Check a registered operator, and the operators of its gradients, by running them.

    On operands of several sizes, in float32 and float64: its results are written in full, have the
    shapes declared, and equal ``formula`` (or, without one, agree in both dtypes); they are the
    same bits whatever is written in place; its calls may be bound once and made again; it
    allocates no array; its FLOPs are those of its calls; its gradients are those of central
    differences. An activation, a loss or an optimizer is also trained with, under every schedule:
    what was predicted is what happened, to the byte.

    Args:
        name: the operator.
        formula: what it computes, written plainly, from operands in float64 to the result.

    Returns:
        The operators that were checked, then the networks.

    Raises:
        UnknownNameError: no operator has that name.
        OperatorCheckError: a check failed; the message says which, and on what.
    """
    related = list(_related(name))
    for each in related:
        check_rule(each, formula if each == name else None)
        check_flops(each)
    networks = tuple(_networks(name))
    for model, optimizer in networks:
        _check_trained(model, optimizer)
    return (*related, *(repr(model) for model, _ in networks))


def _related(name: str) -> Iterator[str]:
    """The operator, its lean rule, and the operators that compute their gradients."""
    definition = rule(name)
    found = [name]
    if definition.lean_rule is not None:
        found.append(definition.lean_rule)
    for known in map(rule, tuple(found)):
        for form in forms(known):
            derivative = known.derivative(form) or ()
            found += [gradient.rule for gradient in derivative if gradient.rule is not None]
    yield from dict.fromkeys(found)


def _networks(name: str) -> Iterator[tuple[MLP, str | None]]:
    """Small networks with the operator, if it is one that has a name in a model."""
    options = {"dtype": "float64", "l2": 0.1}
    if name in ACTIVATIONS:
        yield MLP([5, 7, 7, 7, 4], activation=name, **options), None
    if name in LOSSES:
        yield MLP([5, 7, 7, 7, 4], loss=name, **options), None
    if name in OPTIMIZERS:
        yield MLP([5, 7, 7, 4], **options), name


def _check_trained(model: MLP, optimizer: str | None) -> None:
    generator = np.random.default_rng(0)
    x = generator.standard_normal((_BATCH, model.widths[0]))
    classes = model.widths[-1]
    labels = LOSSES[model.loss].labels
    y = generator.integers(0, classes, _BATCH) if labels else generator.random((_BATCH, classes))
    lean = Step(model, _BATCH, optimizer=None, allocator="heap")
    lean(x, y)
    _check_model_gradients(model, lean, x, y)
    for schedule in _SCHEDULES:
        for allocator in ("heap", "arena"):
            step = Step(model, _BATCH, schedule, optimizer=optimizer, allocator=allocator)
            step(x, y)
            predicted = simulate(model, _BATCH, schedule=schedule, optimizer=optimizer)
            if step.trace != predicted or step.trace.peak != predicted.peak:
                raise OperatorCheckError(
                    f"{model!r}, {schedule}: predicted are {predicted.peak} bytes at the peak, the "
                    f"step took {step.trace.peak}"
                )


def _check_model_gradients(model: MLP, step: Step, x: np.ndarray, y: np.ndarray) -> None:
    found = {name: gradient.copy() for name, gradient in step.gradients.items()}

    def objective() -> float:
        step(x, y)
        return step.outputs["objective"]

    for name, array in model.parameters.items():
        wanted = central_differences(objective, array)
        bound = 1e-6 * max(float(np.abs(wanted).max()), 1e-3)
        off = float(np.abs(found[name] - wanted).max())
        if not off <= bound:
            raise OperatorCheckError(
                f"{model!r}: the gradient of {name} is off by {off:g} from central differences, "
                f"more than {bound:g}"
            )
