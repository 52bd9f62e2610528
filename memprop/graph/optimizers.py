"""Optimizers as update operators at the end of a step, with their state as variables.

A parameter W and its state are updated in place: the operator writes W', which lies over W. The
gradient is read only, so that whoever ran the step can still look at it.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from types import MappingProxyType
from typing import ClassVar, Final

import numpy as np

from memprop.errors import InvalidTypeError, InvalidValueError, unknown_name
from memprop.graph.apply import apply_rule, extend
from memprop.graph.graph import Graph, Operator, Variable


@dataclass(frozen=True)
class Optimizer:
    """A way to update parameters; its fields are the constants of the update.

    Attributes:
        learning_rate: positive.
    """

    learning_rate: float = 0.01

    rule: ClassVar[str]
    state: ClassVar[tuple[str, ...]] = ()
    """Names of the state kept for each parameter, each shaped like the parameter."""
    counts_steps: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for field in fields(self):
            _check_constant(type(self).__name__, field.name, getattr(self, field.name))


def _check_constant(optimizer: str, name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float | np.floating):
        raise InvalidTypeError(f"{optimizer}: {name} must be a number, got {value!r}")
    below_one = name in {"beta1", "beta2", "momentum"}
    positive = name in {"learning_rate", "epsilon"}
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    valid = math.isfinite(number) and (number > 0 if positive else number >= 0)
    if not valid or (below_one and number >= 1):
        least = "positive" if positive else "at least 0"
        bound = " and below 1" if below_one else ""
        shown = "a number too large" if number == math.inf else repr(value)
        raise InvalidValueError(f"{optimizer}: {name} must be {least}{bound}, got {shown}")


@dataclass(frozen=True)
class SGD(Optimizer):
    """W' = W - learning_rate * dW."""

    learning_rate: float = 0.01
    rule: ClassVar[str] = "sgd"


@dataclass(frozen=True)
class Momentum(Optimizer):
    """v' = momentum * v + dW, W' = W - learning_rate * v' (Polyak 1964, as PyTorch writes it)."""

    learning_rate: float = 0.01
    momentum: float = 0.9
    rule: ClassVar[str] = "momentum"
    state: ClassVar[tuple[str, ...]] = ("v",)


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma & Ba 2015, algorithm 1): moments m and v with bias correction."""

    learning_rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    rule: ClassVar[str] = "adam"
    state: ClassVar[tuple[str, ...]] = ("m", "v")
    counts_steps: ClassVar[bool] = True


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019).

    W is first shrunk by learning_rate * weight_decay.
    """

    weight_decay: float = 0.01
    rule: ClassVar[str] = "adamw"


STEPS: Final = "t"
"""The variable that counts the steps done."""

OPTIMIZERS: Final[Mapping[str, type[Optimizer]]] = MappingProxyType(
    {kind.rule: kind for kind in (SGD, Momentum, Adam, AdamW)}
)


def optimizer_named(given: str | Optimizer | None) -> Optimizer | None:
    """The optimizer that a user means: one of its own, a name with the usual constants, or none.

    Raises:
        UnknownNameError: no optimizer has that name.
        InvalidTypeError: neither a name nor an optimizer.
    """
    if given is None or isinstance(given, Optimizer):
        return given
    if not isinstance(given, str):
        raise InvalidTypeError(
            f"optimizer must be a name, such as 'adam', or mp.Adam(...), got {given!r}"
        )
    if given == "none":
        return None
    if given not in OPTIMIZERS:
        raise unknown_name("optimizer", given, ["none", *OPTIMIZERS])
    return OPTIMIZERS[given]()


def with_updates(graph: Graph, optimizer: Optimizer | None, update: str = "at_end") -> Graph:
    """``graph``, which has gradients, with the update of every parameter.

    Where anything depends on how many steps were done, the variable ``t`` counts them, last of all.

    Args:
        graph: forward and backward.
        optimizer: how parameters are updated; ``None`` leaves them as they are.
        update: "at_end" updates after backward; "in_backward" as soon as a gradient is complete
            and nothing reads the parameter any more, and the gradients are no outputs then.
    """
    if optimizer is not None and optimizer.counts_steps and STEPS not in graph.by_name:
        graph = extend(graph, [steps_done()], [])
    updated = graph if optimizer is None else _updated(graph, optimizer)
    if update == "in_backward":
        updated = _as_soon_as_possible(updated, graph)
    return _counted(updated) if STEPS in graph.by_name else updated


def steps_done() -> Variable:
    """The variable ``t``: how many steps were done before this one."""
    return Variable(name=STEPS, shape=(), dtype="int64", category="optimizer_state")


def _counted(graph: Graph) -> Graph:
    """``graph`` with this step counted when all else is done."""
    tick, made = apply_rule(
        "count",
        operator=f"count.{STEPS}",
        inputs=[graph.by_name[STEPS]],
        outputs=[(f"{STEPS}'", "optimizer_state")],
        phase="update",
    )
    return extend(graph, made, [tick])


def _updated(graph: Graph, optimizer: Optimizer) -> Graph:
    variables: list[Variable] = []
    operators: list[Operator] = []
    count = (graph.by_name[STEPS],) if optimizer.counts_steps else ()
    for parameter in graph.parameters:
        state, operator, made = _update(graph, optimizer, parameter, count)
        variables += [*state, *made]
        operators.append(operator)
    return extend(graph, variables, operators)


def _as_soon_as_possible(updated: Graph, graph: Graph) -> Graph:
    """``updated`` with each update right behind the last operator of ``graph`` it must wait for.

    It waits for its gradient, and for those that read the parameter as it was.
    """
    last = {
        name: place
        for place, operator in enumerate(graph.operators)
        for name in (*operator.inputs, *operator.outputs)
    }
    due: dict[int, list[Operator]] = {}
    for operator in updated.operators[len(graph.operators) :]:
        waits = [last[name] for name in operator.inputs if name in last and name != STEPS]
        due.setdefault(max(waits), []).append(operator)
    operators = [
        following
        for place, operator in enumerate(graph.operators)
        for following in (operator, *due.get(place, ()))
    ]
    applied = {f"d{parameter.name}" for parameter in graph.parameters}
    outputs = tuple(name for name in updated.outputs if name not in applied)
    return replace(updated, operators=tuple(operators), outputs=outputs)


def _update(
    graph: Graph, optimizer: Optimizer, parameter: Variable, count: tuple[Variable, ...]
) -> tuple[list[Variable], Operator, tuple[Variable, ...]]:
    state = [
        Variable(
            name=f"{name}_{parameter.name}",
            shape=parameter.shape,
            dtype=parameter.dtype,
            category="optimizer_state",
            layer=parameter.layer,
        )
        for name in optimizer.state
    ]
    operator, made = apply_rule(
        optimizer.rule,
        operator=f"{optimizer.rule}.{parameter.name}",
        inputs=[parameter, graph.by_name[f"d{parameter.name}"], *state, *count],
        outputs=[(f"{v.name}'", v.category) for v in (parameter, *state)],
        phase="update",
        layer=parameter.layer,
        **{name: float(value) for name, value in asdict(optimizer).items()},
    )
    return state, operator, made
