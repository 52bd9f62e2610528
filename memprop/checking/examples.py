"""Operands on which an operator is checked, at sizes where something could go wrong.

A rule says in ``example`` what it reads, a word for each operand:

==============  ================================================================================
word            operand
==============  ================================================================================
``nd``          a letter for each extent: n for the batch, d and k for units
``n,2,5,5``     the same with numbers, for operators that need certain shapes
``scalar``      a single number
``squares``     numbers of at least 0, of shape (k, d)
``softmax``     probabilities of shape (n, d), each row adding up to 1
``labels``      integers below d, one for each sample
``ids``         integers below 5, of shape (n, 3)
``mask``        booleans of shape (n, d)
``window``      integers from 0 to 3 in a byte each, of shape (n, 2, 2, 2)
``count``       a small integer: the steps done
==============  ================================================================================
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from memprop.errors import OperatorCheckError
from memprop.graph.affine import BATCH, Shape
from memprop.graph.rules import ArraySpec, Rule, rule


@dataclass(frozen=True)
class Size:
    """Samples n, units d, other units k."""

    n: int
    d: int
    k: int

    def __str__(self) -> str:
        return f"{self.n}x{self.d}x{self.k}"


SMALL: Final = (Size(1, 1, 1), Size(3, 5, 2))
LARGE: Final = (Size(4683, 7, 3), Size(2, 16_387, 3))
"""More than two blocks of 16,384 elements, and a few: in many rows, in a row, in parameters."""

_MEDIUM: Final = Size(600, 7, 3)

DTYPES: Final = ("float32", "float64")


@dataclass(frozen=True)
class Case:
    """An operator with operands.

    Attributes:
        name: its rule.
        specs: what the operands are to ``infer``.
        operands: the arrays.
        attributes: its constants.
        batch: samples.
    """

    name: str
    specs: tuple[ArraySpec, ...]
    operands: tuple[np.ndarray, ...]
    attributes: Mapping[str, Any]
    batch: int

    @property
    def definition(self) -> Rule:
        """The rule."""
        return rule(self.name)

    @property
    def made(self) -> tuple[ArraySpec, ...]:
        """What the results and the scratch are."""
        known, constants = self.definition, self.attributes
        return known.infer(*self.specs, **constants) + known.infer_scratch(*self.specs, **constants)


def cases(name: str, size: Size, dtype: str, seed: int = 0) -> Iterator[Case]:
    """The cases of an operator: one for each choice of its constants."""
    definition = rule(name)
    words = words_of(definition)
    specs = tuple(_spec(word, size, dtype) for word in words)
    for attributes in definition.constants:
        if attributes.get("dtype", dtype) != dtype:
            continue
        generator = np.random.default_rng(seed)
        operands = tuple(
            _filled(word, spec, size, generator) for word, spec in zip(words, specs, strict=True)
        )
        yield Case(name, specs, operands, attributes, size.n)


def sizes(name: str) -> tuple[Size, ...]:
    """The sizes at which results are checked: where units are fixed, samples alone vary."""
    words = words_of(rule(name))
    fixed = words and all(word not in _WORDS and not {*word} & {"d", "k"} for word in words)
    return (SMALL[0], _MEDIUM) if fixed else SMALL + LARGE


def words_of(definition: Rule) -> list[str]:
    """A word for each operand of the operator's example.

    Raises:
        OperatorCheckError: the example does not suit the operator.
    """
    words = definition.example.split() if definition.example else ["nd"] * len(definition.reads)
    takes_any = bool(definition.reads) and definition.reads[-1].startswith("*")
    if len(words) != len(definition.reads) and not (takes_any and len(words) > 1):
        raise OperatorCheckError(
            f"the operator {definition.name!r} reads {', '.join(definition.reads)}: its example "
            f"needs a word for each, got {definition.example!r}"
        )
    return words


def concrete(spec: ArraySpec, batch: int) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and dtype for a batch size."""
    return tuple(batch if dim == BATCH else dim for dim in spec.shape), np.dtype(spec.dtype)


def _spec(word: str, size: Size, dtype: str) -> ArraySpec:
    if word in _WORDS:
        letters, kind, _ = _WORDS[word]
        return ArraySpec(_shape(letters, size), kind or dtype)
    return ArraySpec(_shape(word, size), dtype)


def _shape(word: str, size: Size) -> Shape:
    letters: Mapping[str, Any] = {"n": BATCH, "d": size.d, "k": size.k}
    parts = word.split(",") if "," in word else list(word)
    unknown = [part for part in parts if part not in letters and not part.isdigit()]
    if unknown:
        raise OperatorCheckError(
            f"{word!r} in an example is none of {', '.join(_WORDS)}, nor extents such as 'nd' or "
            f"'n,3,8': {unknown[0]!r} is no extent"
        )
    return tuple(letters[part] if part in letters else int(part) for part in parts)


def _filled(word: str, spec: ArraySpec, size: Size, generator: np.random.Generator) -> np.ndarray:
    shape, dtype = concrete(spec, size.n)
    if word in _WORDS:
        return np.asarray(_WORDS[word][2](generator, shape, size)).astype(dtype)
    return np.asarray(generator.standard_normal(shape)).astype(dtype)


def _softmax(generator: np.random.Generator, shape: tuple[int, ...], _: Size) -> np.ndarray:
    powers = np.exp(generator.standard_normal(shape))
    return powers / powers.sum(axis=1, keepdims=True)


Fill = Callable[[np.random.Generator, tuple[int, ...], Size], Any]

_WORDS: Final[Mapping[str, tuple[str, str, Fill]]] = MappingProxyType(
    {
        "scalar": ("", "", lambda g, shape, _: g.standard_normal(shape)),
        "squares": ("kd", "", lambda g, shape, _: np.abs(g.standard_normal(shape))),
        "softmax": ("nd", "", _softmax),
        "labels": ("n", "int64", lambda g, shape, size: g.integers(0, size.d, shape)),
        "ids": ("n,3", "int64", lambda g, shape, _: g.integers(0, 5, shape)),
        "mask": ("nd", "bool", lambda g, shape, _: g.random(shape) < 0.5),
        "window": ("n,2,2,2", "uint8", lambda g, shape, _: g.integers(0, 4, shape)),
        "count": ("", "int64", lambda g, shape, _: g.integers(1, 9, shape)),
    }
)
"""Extents, dtype (that of the case where there is none) and content, by word."""
