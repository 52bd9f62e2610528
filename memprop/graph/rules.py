"""What an operator is: a name and its rules, in one registry.

A rule says everything memprop needs to know of an operator: the shapes it makes, the kernel that
computes it, the scratch that kernel needs, its FLOPs, which results may be written over which
operands, and how it is differentiated. Running, predicting, differentiating, drawing and checking a
graph all read this one registry, so a new operator is one file in ``operators/``, or a user's own.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Final, NamedTuple

import numpy as np

from memprop.errors import GraphError, RegistrationError
from memprop.graph.affine import Affine, Shape, elements
from memprop.registry import Registry


class ArraySpec(NamedTuple):
    """Shape and dtype of an array that need not exist."""

    shape: Shape
    dtype: str

    def fits(self, other: "ArraySpec") -> bool:
        """Whether an array of this kind can lie in the buffer of ``other``, reshaped if need be."""
        return self == other or (
            self.dtype == other.dtype and elements(self.shape) == elements(other.shape)
        )


Call = Callable[[], object]
"""One pass over memory, ready to be made: a function of NumPy with its arrays."""

Kernel = Callable[..., Iterable[Call]]
"""Called as ``kernel(*operands, *results, *scratch, **attributes)``, all of them arrays, it gives
the calls that, made in order, write every result in full. They allocate no array of the size of an
operand. A step that runs many times asks for them once and makes them every time, so a kernel looks
at shapes only: what depends on the content of an array is decided inside a call."""

Infer = Callable[..., tuple[ArraySpec, ...]]
"""Called as ``infer(*operand_specs, **attributes)``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gradient:
    """How one operand's gradient is computed from the gradient of the result.

    Attributes:
        of: the operand, by its port name.
        rule: the operator that computes it; ``None`` passes the gradient of the result on as it
            is, as a sum does.
        reads: what that operator reads, by port name: operands and results of the forward
            operator, and ``d<result>`` for the gradient of a result.
        accumulates: the operator adds to a gradient that other contributions began; that gradient
            is then its first operand.
    """

    of: str
    rule: str | None
    reads: tuple[str, ...]
    accumulates: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """Everything memprop knows of an operator.

    Attributes:
        name: the operator's name in the table.
        reads: port names of the operands; a last one that begins with ``*`` takes any number.
        writes: port names of the results.
        scratch: port names of the kernel's workspace.
        infer: shapes of the results.
        infer_scratch: shapes of the workspace.
        kernel: the calls that compute it.
        flops: floating-point operations of one run, a comparison or an exponential counted as one.
        in_place: ``(target, operand)`` pairs: the result or scratch that the kernel may write over
            an operand which dies here. The kernel is right for every subset of the pairs.
        updates: ``(result, operand)`` pairs that always share their storage, as W -= rate * dW.
        gradients: the derivative as a textbook writes it, from the operands, one entry an operand
            in the order in which they are computed; ``None`` if it has none.
        lean_gradients: the derivative that needs least to be kept, where that is another one.
        lean_rule: the rule that takes this one's place where least is to be kept: it writes a
            residual for backward in addition to the results.
        below: ports that hold integers, each with the operand and the axis whose extent they stay
            below: labels below the number of classes, tokens below the size of the vocabulary.
        symbol: what stands in its circle in a drawing; its name if not given.
        example: the operands on which it is checked, a word for each (see
            :mod:`memprop.graph.examples`); if not given, all are of shape (batch, d).
        constants: the attributes with which it is checked, a dict for each case.
        counts_calls: whether ``flops`` counts what the kernel's calls do; ``False`` where the
            kernel takes another way to the result, as a product with ones for a sum.
    """

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    infer: Infer
    kernel: Kernel
    flops: Callable[..., Affine]
    scratch: tuple[str, ...] = ()
    infer_scratch: Infer = lambda *_, **__: ()
    in_place: tuple[tuple[str, str], ...] = ()
    updates: tuple[tuple[str, str], ...] = ()
    gradients: tuple[Gradient, ...] | None = None
    lean_gradients: tuple[Gradient, ...] | None = None
    lean_rule: str | None = None
    below: Mapping[str, tuple[str, int]] = field(default_factory=dict, hash=False)
    symbol: str = ""
    example: str = ""
    constants: tuple[Mapping[str, Any], ...] = field(default=({},), hash=False)
    counts_calls: bool = True

    registry: ClassVar["Registry[Rule]"]

    def derivative(self, form: str) -> tuple[Gradient, ...] | None:
        """The gradients in ``form``, "textbook" or "lean"; ``None`` if there is no derivative."""
        return (self.lean_gradients or self.gradients) if form == "lean" else self.gradients

    def ports(self, count: int) -> tuple[str, ...]:
        """The port name of each of ``count`` operands.

        Raises:
            GraphError: the operator does not take that many.
        """
        if self.reads and self.reads[-1].startswith("*"):
            return (*self.reads[:-1], *[self.reads[-1][1:]] * (count - len(self.reads) + 1))
        if count != len(self.reads):
            raise GraphError(f"{self.name} reads {len(self.reads)} variables, got {count}")
        return self.reads


def _check_rule(entry: Rule) -> None:
    if not isinstance(entry, Rule):
        raise RegistrationError(f"an operator is registered as a Rule, got {entry!r}")
    ports = {port.lstrip("*") for port in (*entry.reads, *entry.writes, *entry.scratch)}
    named = [port for pair in (*entry.in_place, *entry.updates) for port in pair]
    for port in (*named, *entry.below, *(other for other, _ in entry.below.values())):
        if port not in ports:
            raise RegistrationError(
                f"the operator {entry.name!r} has no port {port!r}: it reads, writes and scratches "
                f"on {', '.join(sorted(ports))}"
            )


RULES: Final[Registry[Rule]] = Registry("operator", lambda entry: entry.name, _check_rule)
"""Every operator there is."""

Rule.registry = RULES


def rule_names() -> tuple[str, ...]:
    """The names of all rules, sorted."""
    return tuple(sorted(RULES))


def rule(name: str) -> Rule:
    """The rule of that name.

    Raises:
        UnknownNameError: there is none.
    """
    return RULES[name]


def reduction(
    function: np.ufunc, array: np.ndarray, axis: int | tuple[int, ...], to: np.ndarray
) -> Call:
    """The call that reduces ``array`` along ``axis``, one or several, into ``to``."""
    return partial(function.reduce, array, axis, None, to)


def constant(number: float, like: np.ndarray) -> np.ndarray:
    """A number of the dtype of ``like``; NumPy would take half a microsecond to convert it."""
    return np.array(number, dtype=like.dtype)


def like(port: int = 0) -> Infer:
    """An ``infer`` for one result shaped like the operand at ``port``."""
    return lambda *operands, **_: (operands[port],)


def flops_per_element(count: int, port: int = 0) -> Callable[..., Affine]:
    """A ``flops`` of ``count`` for every element of the operand at ``port``."""
    return lambda *operands, **_: elements(operands[port].shape).times(count)


def no_flops(*_: Any, **__: Any) -> Affine:
    """A ``flops`` for operators that only move or set bytes."""
    return Affine(0, 0)


def elementwise(
    name: str,
    kernel: Kernel,
    *,
    flops: int,
    backward: str | None,
    backward_reads: str = "z",
    lean_backward: str = "",
    in_place: bool = True,
    symbol: str = "φ",
) -> Rule:
    """The rule of an operator h = phi(z), element by element.

    Args:
        name: the operator's name.
        kernel: called as ``kernel(z, h)``, it gives the calls that write ``h``.
        flops: floating-point operations of one element.
        backward: the rule of dz = dh phi'(z), made by :func:`elementwise_backward`; ``None`` where
            the gradient passes through as it is.
        backward_reads: what backward needs in addition to dh: "z" or "h".
        lean_backward: the rule that takes the derivative from ``h``, if there is another one, so
            that z need not be kept.
        in_place: whether the kernel is right where ``h`` lies over ``z``, which dies.
        symbol: what stands in its circle in a drawing.
    """

    def gradients(by: str | None, read: str) -> tuple[Gradient, ...]:
        return (Gradient(of="z", rule=by, reads=("dh", read) if by else ("dh",)),)

    return Rule(
        name=name,
        reads=("z",),
        writes=("h",),
        infer=like(),
        kernel=kernel,
        flops=flops_per_element(flops),
        in_place=(("h", "z"),) if in_place else (),
        gradients=gradients(backward, backward_reads),
        lean_gradients=gradients(lean_backward, "h") if lean_backward else None,
        symbol=symbol,
    )


def elementwise_backward(
    name: str,
    kernel: Kernel,
    *,
    flops: int,
    reads: str = "z",
    scratch: tuple[str, ...] = (),
    in_place: tuple[tuple[str, str], ...] = (),
    symbol: str = "φ′",
    counts_calls: bool = True,
) -> Rule:
    """The rule of dz = dh phi'(z), element by element.

    Args:
        name: the operator's name.
        kernel: called as ``kernel(dh, read, dz, *scratch)``, it gives the calls that write ``dz``.
        flops: floating-point operations of one element.
        reads: "z" or "h", whichever the derivative is taken from.
        scratch: names of the kernel's scratch arrays, each as large as ``dh``.
        in_place: pairs such as ``("dz", "dh")``: what may lie over an operand that dies.
        symbol: what stands in its circle in a drawing.
        counts_calls: whether ``flops`` counts what the kernel's calls do.
    """
    return Rule(
        name=name,
        reads=("dh", reads),
        writes=("dz",),
        scratch=scratch,
        infer=like(),
        infer_scratch=lambda dh, _: (dh,) * len(scratch),
        kernel=kernel,
        flops=flops_per_element(flops),
        in_place=in_place,
        symbol=symbol,
        counts_calls=counts_calls,
    )
