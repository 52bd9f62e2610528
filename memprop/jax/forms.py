"""What JAX's jaxprs look like: the one place that knows the forms of its versions.

A form is recognized by its attributes, never by the number of a version. An equation in an unknown
form is refused with its name and its line; nothing is guessed.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any, Final, NamedTuple

import jax
from jax.extend.core import Literal
from jax.interpreters.partial_eval import dce_jaxpr

from memprop.errors import InvalidValueError
from memprop.jax.sites import place

LOOPS: Final = frozenset({"scan", "while", "cond"})
"""Primitives with jaxprs inside that run more often than once, or perhaps not at all."""

_FIRST: Final = ("jaxpr", "call_jaxpr", "fun_jaxpr", "fwd_jaxpr", "callee", "call")
"""Where a primitive keeps the jaxpr that it calls, if it has a second one for derivatives."""

_KERNELS: Final = frozenset({"pallas_call"})
"""Primitives whose jaxpr is the inside of one kernel: it has no arrays in the device's memory."""

_SEALED: Final = frozenset({"call_exported", "call_tf"})
"""Primitives that run a whole program of which no jaxpr is left."""


class Program(NamedTuple):
    """A jaxpr and the arrays that it captured, one for each of ``jaxpr.constvars``."""

    jaxpr: Any
    consts: Sequence[Any]

    @property
    def in_avals(self) -> list[Any]:
        """The abstract types of its arguments."""
        return [variable.aval for variable in self.jaxpr.invars]

    @property
    def out_avals(self) -> list[Any]:
        """The abstract types of what comes out."""
        return [atom.aval for atom in self.jaxpr.outvars]


class ScanSizes(NamedTuple):
    """How the operands of a scan fall into parts.

    Attributes:
        consts: how many are the same in each iteration.
        carry: how many go from one iteration to the next; as many results come first.
    """

    consts: int
    carry: int


def program(jaxpr: Any) -> Program:
    """A jaxpr with its constants, whether they are attached to it, wrapped around it, or none."""
    return Program(getattr(jaxpr, "jaxpr", jaxpr), tuple(getattr(jaxpr, "consts", ())))


def pruned(
    found: Program, wanted: Sequence[bool], *, keep_inputs: bool = False
) -> tuple[Program, list[bool]]:
    """A program without the equations that nobody needs, and which of its inputs are left.

    Args:
        found: the program.
        wanted: for each result whether somebody wants it.
        keep_inputs: whether to keep also the inputs that nothing reads.
    """
    jaxpr, used = dce_jaxpr(found.jaxpr, list(wanted), instantiate=keep_inputs)
    attached = program(jaxpr)
    if len(attached.consts) == len(attached.jaxpr.constvars):
        return attached, used
    return Program(jaxpr, found.consts), used


def is_jaxpr(value: Any) -> bool:
    """Whether ``value`` is a jaxpr, with or without constants around it."""
    inner = getattr(value, "jaxpr", value)
    return hasattr(inner, "eqns") and hasattr(inner, "invars")


def inside(equation: Any) -> Iterator[Any]:
    """The jaxprs among the parameters of an equation, and in tuples of them."""
    for value in equation.params.values():
        for each in value if isinstance(value, (tuple, list)) else (value,):
            if is_jaxpr(each):
                yield each


def called(equation: Any) -> Program | None:
    """The jaxpr that an equation calls with its own operands and nothing more; ``None`` if none.

    Told by its signature: it takes what the equation takes, and returns what that returns.
    """
    if equation.primitive.name in LOOPS:
        return None
    if hasattr(equation.params.get("_prim"), "expand"):
        return _expanded(equation)
    held = {key: value for key, value in equation.params.items() if is_jaxpr(value)}
    for key in (*(key for key in _FIRST if key in held), *(k for k in held if k not in _FIRST)):
        found = program(held[key])
        if _alike(found.in_avals, equation.invars) and _alike(found.out_avals, equation.outvars):
            return found
    return None


def _expanded(equation: Any) -> Program:
    """What a primitive of a user's own kind (``jax.experimental.hijax``) says that it stands for.

    Raises:
        InvalidValueError: it does not say, or is not of arrays.
    """
    lower = getattr(equation.primitive, "to_lojax", None)
    avals = [atom.aval for atom in equation.invars]
    if lower is None or not all(hasattr(aval, "dtype") for aval in avals):
        raise unknown(equation, "it is no function of arrays")
    shapes = [jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in avals]
    try:
        made = jax.make_jaxpr(lambda *args: lower(*args, **equation.params))(*shapes)
    except Exception as error:
        raise unknown(equation, f"JAX does not expand it ({type(error).__name__})") from error
    return program(made)


def is_plain(equation: Any) -> bool:
    """Whether an equation is one kernel: nothing inside, or what is inside works on scalars."""
    if equation.primitive.name in _KERNELS:
        return True
    if equation.primitive.name in _SEALED:
        return False
    return all(map(_is_of_scalars, inside(equation)))


def _is_of_scalars(jaxpr: Any) -> bool:
    """Whether it combines two elements, as that of a reduction or of a scatter does."""
    found = program(jaxpr)
    return all(getattr(aval, "shape", None) == () for aval in (*found.in_avals, *found.out_avals))


def _alike(avals: Sequence[Any], atoms: Sequence[Any]) -> bool:
    return len(avals) == len(atoms) and all(
        _type(aval) == _type(atom.aval) for aval, atom in zip(avals, atoms, strict=True)
    )


def _type(aval: Any) -> tuple[Any, ...]:
    """Shape, dtype, and whether it is a reference or a token; not where it lies."""
    return type(aval).__name__, getattr(aval, "shape", None), getattr(aval, "dtype", None)


def scan_sizes(equation: Any) -> ScanSizes:
    """The parts of a scan's operands, from numbers or from a tree of three parts.

    Raises:
        InvalidValueError: neither is there.
    """
    params = equation.params
    if "num_consts" in params and "num_carry" in params:
        return ScanSizes(params["num_consts"], params["num_carry"])
    if hasattr(params.get("ft_in"), "unpack"):
        parts = [len(part) for part in params["ft_in"].unpack()]
        if len(parts) == 3 and sum(parts) == len(equation.invars):
            return ScanSizes(parts[0], parts[1])
    raise unknown(equation, "its operands come in no known form")


def parameter(equation: Any, name: str) -> Any:
    """A parameter that memprop cannot do without.

    Raises:
        InvalidValueError: it is missing.
    """
    if name not in equation.params:
        raise unknown(equation, f"it has no parameter {name!r}")
    return equation.params[name]


def manual_axes(equation: Any) -> Mapping[str, int]:
    """The axes of the mesh over which a ``shard_map`` splits its work, with their sizes."""
    sizes = dict(parameter(equation, "mesh").shape)
    for key in ("newly_manual_axes", "manual_axes"):
        if key in equation.params:
            return {axis: sizes[axis] for axis in equation.params[key]}
    return sizes


def copies(aval: Any, axes: Mapping[str, int], *, tracked: bool) -> int:
    """How many different shards of this type there are over ``axes``.

    Args:
        aval: the type of one shard.
        axes: the sizes of the axes.
        tracked: whether the type says over which of them the shards differ.
    """
    varying = _varying(aval) if tracked else None
    return prod(size for axis, size in axes.items() if varying is None or axis in varying)


def _varying(aval: Any) -> frozenset[str] | None:
    found = getattr(aval, "vma", None)
    if found is None:
        kinds = getattr(aval, "mat", None)
        found = None if kinds is None else kinds.varying | kinds.unreduced
    return None if found is None else frozenset(found)


def is_made(equation: Any, variable: Any) -> bool:
    """Whether a result takes memory: not what is written over in a mutable array and not read."""
    return equation.primitive.name != "swap" or type(variable).__name__ != "DropVar"


def is_on_host(aval: Any) -> bool:
    """Whether an array is offloaded: it lies in the memory of the host, not of the device."""
    return getattr(getattr(aval, "memory_space", None), "name", "") == "Host"


def stays_put(equation: Any) -> bool:
    """Whether a ``device_put`` names no device and asks for no copy."""
    params = equation.params
    copying = any("COPY" in getattr(each, "name", "") for each in params.get("copy_semantics", ()))
    return not copying and all(device is None for device in params.get("devices", (0,)))


def marked(equation: Any) -> str:
    """Of which pass an equation says to be, "forward" or "backward"; "" if it does not say.

    The outermost transformation decides: of ``transpose(jvp(f))`` it is the transposition.
    """
    stack = str(getattr(equation.source_info, "name_stack", ""))
    found = {"backward": stack.find("transpose("), "forward": stack.find("jvp(")}
    present = {mark: at for mark, at in found.items() if at >= 0}
    return min(present, key=lambda mark: present[mark]) if present else ""


def is_recomputed(equation: Any) -> bool:
    """Whether ``jax.checkpoint`` computes again what it did not save."""
    return "rematted_computation" in str(getattr(equation.source_info, "name_stack", ""))


def has_backward(jaxpr: Any) -> bool:
    """Whether a backward pass is in a jaxpr, or in one that it calls."""
    return any(
        marked(equation) == "backward" or any(map(has_backward, inside(equation)))
        for equation in program(jaxpr).jaxpr.eqns
    )


def donated(equation: Any) -> Sequence[bool]:
    """Which operands the caller donates (``donate_argnums`` of ``jax.jit``)."""
    return equation.params.get("donated_invars", ())


def is_literal(atom: Any) -> bool:
    """Whether an operand is written into the equation and takes no memory."""
    return isinstance(atom, Literal)


def unknown(equation: Any, why: str) -> InvalidValueError:
    """The refusal of an equation in a form that memprop does not know."""
    where = place(equation, "")
    what = f"{equation.primitive.name!r}{where and f' at {where}'}"
    return InvalidValueError(
        f"memprop cannot count {what}: {why}. "
        "Leave it out of the function, or report it with the version of JAX"
    )
