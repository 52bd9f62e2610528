"""What is saved between forward and backward, with the line and the primitive that made it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from memprop.jax.arguments import Argument, canonical
from memprop.jax.differentiate import Forward, forward_of
from memprop.jax.flatten import flatten
from memprop.jax.forms import is_literal
from memprop.jax.program import Operand, Scope, Step, Value
from memprop.jax.sites import reported
from memprop.jax.values import value_of

if TYPE_CHECKING:
    import pandas as pd


class Residual(NamedTuple):
    """An array that the backward pass needs.

    Attributes:
        name: the argument, the ``checkpoint_name``, or the primitive.
        shape: as it is.
        dtype: by name.
        bytes: its size on the device: 0 if a policy moves it to the host.
        primitive: what made it, looked up inside of jitted functions; "" if nothing did.
        site: the line of the user's program, "file.py:line (function)".
        origin: "argument", "constant" (captured by closure), "literal", or "intermediate".
        reported: how ``jax.ad_checkpoint.print_saved_residuals`` describes it.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    bytes: int
    primitive: str
    site: str
    origin: str
    reported: str


def saved_residuals(
    fun: Callable[..., Any],
    *args: Any,
    argnums: int | Sequence[int] | None = None,
    has_aux: bool = False,
) -> "pd.DataFrame":
    """A row for each residual of ``fun``, with the columns of :class:`Residual`.

    The set is that of ``jax.ad_checkpoint.print_saved_residuals(fun, *args)``: what ``jax.vjp``
    keeps, arguments included, before anything is left out that nobody reads. No array is made.

    Args:
        fun: any function of arrays that JAX can differentiate; its value need not be a scalar.
        args: pytrees of arrays or of ``jax.ShapeDtypeStruct``.
        argnums: the arguments to differentiate by; ``None`` for all, as JAX's own report does.
        has_aux: whether ``fun`` returns a pair of which only the first is differentiated.

    Raises:
        InvalidTypeError: an argument is no array.
        InvalidValueError: ``argnums`` is impossible, or ``fun`` cannot be traced.
    """
    import pandas as pd

    found = residuals(forward_of(fun, canonical(args), argnums, has_aux=has_aux))
    return pd.DataFrame(found, columns=pd.Index(Residual._fields)).astype({"bytes": "int64"})


def residuals(forward: Forward) -> list[Residual]:
    """The residuals of a forward pass: literals, constants, arguments, then in program order."""
    jaxpr = forward.program.jaxpr
    inputs = [
        value_of(variable.aval, argument.name)
        for variable, argument in zip(jaxpr.invars, forward.arguments, strict=True)
    ]
    block = flatten(forward.program, inputs, Scope())
    makers = {value: step for step in block.steps for value in step.makes}
    atoms, values = jaxpr.outvars[forward.outputs :], block.outputs[forward.outputs :]
    literals = [_literal(atom) for atom in atoms if is_literal(atom)]
    saved = _saved_variables(jaxpr, atoms, values)
    return literals + [
        _residual(saved[variable], makers, *reported)
        for variable, *reported in _sources(jaxpr, forward.arguments)
        if variable in saved
    ]


def _saved_variables(
    jaxpr: Any, atoms: Sequence[Any], values: Sequence[Operand]
) -> dict[Any, Value]:
    """The values by the variable that JAX's report names: not a mark, but what it marks."""
    marks = {
        equation.outvars[0]: equation.invars[0]
        for equation in jaxpr.eqns
        if equation.primitive.name == "reduce_precision"
    }
    return {
        marks.get(atom, atom): value
        for atom, value in zip(atoms, values, strict=True)
        if value is not None
    }


def _sources(jaxpr: Any, arguments: Sequence[Argument]) -> Iterator[tuple[Any, str, str]]:
    """Every variable of ``jaxpr`` with its origin and JAX's description of it, in JAX's order."""
    for variable in jaxpr.constvars:
        yield variable, "constant", "from a constant"
    for variable, argument in zip(jaxpr.invars, arguments, strict=True):
        yield variable, "argument", f"from the argument {argument.name}"
    for equation in jaxpr.eqns:
        for variable in equation.outvars:
            yield variable, "intermediate", _described(equation)


def _described(equation: Any) -> str:
    name, source = equation.primitive.name, reported(equation.source_info)
    if name == "name":
        return f"named '{equation.params['name']}' from {source}"
    if name == "jit":
        return f"output of jitted function '{equation.params['name']}' from {source}"
    return f"output of {name} from {source}"


def _residual(value: Value, makers: Mapping[Value, Step], origin: str, reported: str) -> Residual:
    step = _maker(value, makers)
    return Residual(
        name=value.name,
        shape=value.shape,
        dtype=value.dtype,
        bytes=value.bytes,
        primitive=step.operator if step else "",
        site=step.site if step else "",
        origin=origin,
        reported=reported,
    )


def _maker(value: Value, makers: Mapping[Value, Step]) -> Step | None:
    """The step that computed ``value``, not the ``checkpoint_name`` given to it."""
    step = makers.get(value)
    if step is not None and step.operator == "name" and value.base is not None:
        return _maker(value.base, makers)
    return step


def _literal(atom: Any) -> Residual:
    return _residual(value_of(atom.aval, "literal"), {}, "literal", "from a literal")
