"""What an operator is: a name and its rules, in one table.

A rule says everything memprop needs to know of an operator: the shapes it makes, the kernel that
computes it, the scratch that kernel needs, its FLOPs, which results may be written over which
operands, and how it is differentiated. Running, predicting and differentiating a graph all read
this one table, so a new operator is one entry in one of the family files beside this one.
"""

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np

from memprop.errors import GraphError, unknown_name
from memprop.graph.affine import Affine, Shape, elements


class ArraySpec(NamedTuple):
    """Shape and dtype of an array that need not exist."""

    shape: Shape
    dtype: str


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
            residual for backward beside the results.
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


_RULES: dict[str, Rule] = {}

_ON_DEMAND: Final[Mapping[str, str]] = MappingProxyType(
    dict.fromkeys(("gelu", "gelu_backward"), "memprop.graph.gelu")
)
"""Rules whose kernels need more than NumPy: their module is imported when first asked for."""


def register(*rules: Rule) -> None:
    """Enter rules in the table; a name can be taken once."""
    for rule in rules:
        if rule.name in _RULES:
            raise GraphError(f"the operator {rule.name!r} is registered already")
        _RULES[rule.name] = rule


def rule_names() -> tuple[str, ...]:
    """The names of all rules, those among them that are loaded on demand."""
    return tuple(sorted({*_RULES, *_ON_DEMAND}))


def rule(name: str) -> Rule:
    """The rule of that name.

    Raises:
        UnknownNameError: there is none.
    """
    if name not in _RULES and name in _ON_DEMAND:
        importlib.import_module(_ON_DEMAND[name])
    if name not in _RULES:
        raise unknown_name("operator", name, rule_names())
    return _RULES[name]


def reduction(function: np.ufunc, array: np.ndarray, axis: int, to: np.ndarray) -> Call:
    """The call that reduces ``array`` along ``axis``, into ``to``."""
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
