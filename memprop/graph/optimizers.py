"""Optimizers as update operators at the end of a step, with their state as variables.

A parameter W and its state are updated in place: the operator writes W', which lies over W. The
gradient is read only, so that whoever ran the step can still look at it.
"""

from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, replace
from typing import ClassVar, Final

from memprop.checks import Positive, check_fields, option
from memprop.errors import (
    InvalidTypeError,
    RegistrationError,
    unknown_name,
)
from memprop.graph.apply import apply_rule, extend
from memprop.graph.blocks import block_of
from memprop.graph.graph import Graph, Operator, Variable
from memprop.graph.rules import ArraySpec, Kernel, Rule, flops_per_element
from memprop.registry import Registry


@dataclass(frozen=True)
class Optimizer:
    """A way to update parameters; its fields are the constants of the update.

    Attributes:
        learning_rate: positive.
    """

    learning_rate: float = option(0.01, check=Positive())

    rule: ClassVar[str]
    """The operator, which is also the name that ``optimizer=...`` takes."""
    state: ClassVar[tuple[str, ...]] = ()
    """Names of the state kept for each parameter, each shaped like the parameter."""
    counts_steps: ClassVar[bool] = False
    """Whether the update depends on how many steps were done before."""
    registry: ClassVar["Registry[type[Optimizer]]"]

    def __post_init__(self) -> None:
        check_fields(self, f"{type(self).__name__}: ")


STEPS: Final = "t"
"""The variable that counts the steps done."""


def _check(entry: type[Optimizer]) -> None:
    if not (isinstance(entry, type) and issubclass(entry, Optimizer)):
        raise RegistrationError(f"an optimizer is registered as a class, got {entry!r}")


OPTIMIZERS: Final[Registry[type[Optimizer]]] = Registry(
    "optimizer", lambda entry: entry.rule, _check
)
"""Every optimizer by the name of its operator."""

Optimizer.registry = OPTIMIZERS


class _OrNone(Collection[str]):
    """The names of optimizers as they are now, and "none"."""

    def __contains__(self, name: object) -> bool:
        return name == "none" or name in OPTIMIZERS

    def __iter__(self) -> Iterator[str]:
        yield "none"
        yield from OPTIMIZERS

    def __len__(self) -> int:
        return 1 + len(OPTIMIZERS)


OPTIMIZER_NAMES: Final[Collection[str]] = _OrNone()
"""What ``optimizer=...`` takes by name."""


def update_rule(
    optimizer: type[Optimizer], kernel: Kernel, *, flops: int, scratch: tuple[str, ...] = ()
) -> Rule:
    """The operator of an optimizer: it writes W', and the state it has, over W and its state.

    Args:
        optimizer: the names of its state and its constants.
        kernel: called as ``kernel(W, dW, *state, W', *state', *scratch, **constants)``, with the
            number of steps before this one, ``t``, behind the state where the optimizer counts
            them.
        flops: floating-point operations for each element of W.
        scratch: names of scratch arrays, each a block of at most 16,384 elements.
    """
    names = ("W", *optimizer.state)
    count = ("t",) if optimizer.counts_steps else ()

    def infer(W: ArraySpec, *_: ArraySpec, **__: float) -> tuple[ArraySpec, ...]:
        return (W,) * len(names)

    return Rule(
        name=optimizer.rule,
        reads=("W", "dW", *optimizer.state, *count),
        writes=tuple(f"{name}'" for name in names),
        scratch=scratch,
        infer=infer,
        infer_scratch=lambda W, *_, **__: (block_of(W),) * len(scratch),
        kernel=kernel,
        flops=flops_per_element(flops),
        updates=tuple((f"{name}'", name) for name in names),
        example=" ".join(
            ("kd", "kd", *("squares" for _ in optimizer.state), *("count" for _ in count))
        ),
        constants=(asdict(optimizer()),),
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
        raise unknown_name("optimizer", given, OPTIMIZER_NAMES)
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
