"""Dropout y = x m / (1 - p): each unit is dropped with probability p (Srivastava et al. 2014).

Which units are kept does not depend on when the mask is drawn: it comes from the counter-based
generator Philox (Salmon et al. 2011), keyed by the model's seed and the layer, at the counter of
the step and the unit's place in the batch. So backward, or a forward pass that runs again, draws
the same bits and the mask need not be kept, and a batch in micro-batches drops the same units as a
whole one. The variant that keeps the mask, a byte for each unit, exists for comparison.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

import numpy as np

from memprop.checks import Choice, Probability, option
from memprop.graph.blocks import blocks
from memprop.graph.layers import Layer
from memprop.graph.rules import (
    ArraySpec,
    Call,
    Gradient,
    Rule,
    constant,
    flops_per_element,
    like,
)
from memprop.registry import register

if TYPE_CHECKING:
    from memprop.graph.build import NetworkBuilder
    from memprop.graph.nodes import Variable

Array = np.ndarray

MASKS: Final = ("regenerate", "store")
"""Where backward gets the mask from: it draws it again, or forward kept it."""


@dataclass(frozen=True, repr=False)
class Dropout(Layer):
    """In training, drops each unit with probability p and scales the others by 1 / (1 - p).

    Attributes:
        p: the probability.
        mask: "regenerate" draws the mask again in backward; "store" keeps it, a byte for each unit.
    """

    p: float = option(0.5, check=Probability())
    mask: str = option("regenerate", check=Choice(MASKS))

    draws: ClassVar[bool] = True

    def is_active(self, *, training: bool) -> bool:
        """In training, unless nothing is dropped."""
        return training and self.p > 0

    def apply(self, net: "NetworkBuilder", x: "Variable") -> "Variable":
        """Add y = x m / (1 - p) to ``net``."""
        rule, kept = (
            ("dropout", ()) if self.mask == "regenerate" else ("dropout_keeping_mask", ("mask",))
        )
        return net.result(rule, (x, net.steps), "k", *kept, label="dropout", p=self.p, **net.draw())


_WORD_BITS: Final = 64
_WORDS: Final = 4  # that Philox draws for each value of its counter

_BLOCK_ELEMENTS: Final = 4096


class _Key(NamedTuple):
    """What the bits depend on, apart from the step: the model, the layer, the micro-batch."""

    seed: int
    stream: int
    micro_batch: int


def _uniform(scratch: Array, like: Array, t: Array, key: _Key) -> Iterator[tuple[slice, Array]]:
    """Uniform numbers in [0, 1) for every element of ``like``, block by block, in ``scratch``.

    ``like`` is micro-batch number ``key.micro_batch`` of a batch, counted from 1, in step ``t``.
    """
    numbers = _WORDS * (np.dtype(np.uint64).itemsize // scratch.itemsize)
    first, skipped = divmod((key.micro_batch - 1) * like.size, numbers)
    words = key.seed % 2**_WORD_BITS << _WORD_BITS | key.stream
    counter = int(t) << _WORD_BITS | first
    generator = np.random.Generator(np.random.Philox(counter=counter, key=words))
    generator.random(out=scratch[:skipped], dtype=scratch.dtype)
    for start in range(0, like.size, scratch.size):
        block = scratch[: min(scratch.size, like.size - start)]
        generator.random(out=block, dtype=scratch.dtype)
        yield slice(start, start + block.size), block


def _dropout(
    x: Array,
    t: Array,
    y: Array,
    block: Array,
    *,
    p: float,
    seed: int,
    stream: int,
    micro_batch: int,
) -> Iterator[Call]:
    yield partial(_drop, x, t, y, block, p, _Key(seed, stream, micro_batch))


def _drop(x: Array, t: Array, y: Array, block: Array, p: float, key: _Key) -> None:
    given, made = x.reshape(-1), y.reshape(-1)
    for place, drawn in _uniform(block, x, t, key):
        np.greater_equal(drawn, p, out=drawn)
        _apply(drawn, p, given[place], made[place])


def _dropout_keeping_mask(
    x: Array,
    t: Array,
    y: Array,
    mask: Array,
    block: Array,
    *,
    p: float,
    seed: int,
    stream: int,
    micro_batch: int,
) -> Iterator[Call]:
    yield partial(_drop_keeping_mask, x, t, y, mask, block, p, _Key(seed, stream, micro_batch))


def _drop_keeping_mask(
    x: Array, t: Array, y: Array, mask: Array, block: Array, p: float, key: _Key
) -> None:
    given, made, kept = x.reshape(-1), y.reshape(-1), mask.reshape(-1)
    for place, drawn in _uniform(block, x, t, key):
        np.greater_equal(drawn, p, out=drawn)
        np.copyto(kept[place], drawn, casting="unsafe")
        _apply(drawn, p, given[place], made[place])


def _dropout_backward_from_mask(
    dy: Array, mask: Array, dx: Array, block: Array, *, p: float, **_: int
) -> Iterator[Call]:
    scale = constant(1 / (1 - p), dy)
    for drawn, gradient, kept, made in blocks(block, dy, mask, dx):
        yield partial(np.copyto, drawn, kept)
        yield partial(np.multiply, drawn, scale, drawn)
        yield partial(np.multiply, gradient, drawn, made)


def _apply(mask: Array, p: float, given: Array, made: Array) -> None:
    """Made = given mask / (1 - p), where ``made`` may lie over ``given``."""
    np.multiply(mask, 1 / (1 - p), out=mask)
    np.multiply(given, mask, out=made)


def _rule(name: str, reads: tuple[str, ...], writes: tuple[str, ...], kernel, **more: Any) -> Rule:
    return Rule(
        name=name,
        reads=reads,
        writes=writes,
        scratch=("block",),
        infer_scratch=lambda x, *_, **__: (ArraySpec((_BLOCK_ELEMENTS,), x.dtype),),
        kernel=kernel,
        flops=flops_per_element(3),
        in_place=((writes[0], reads[0]),),
        **more,
    )


_KEYS = tuple({"p": 0.3, "seed": 7, "stream": 2, "micro_batch": number} for number in (1, 3))

register(
    _rule(
        "dropout",
        ("x", "t"),
        ("y",),
        _dropout,
        infer=like(),
        gradients=(Gradient(of="x", rule="dropout_backward", reads=("dy", "t")),),
        example="nd count",
        constants=_KEYS,
    ),
    # Gradient and mask stand in for input and output: the same numbers times the same mask.
    _rule(
        "dropout_backward",
        ("dy", "t"),
        ("dx",),
        _dropout,
        infer=like(),
        example="nd count",
        constants=_KEYS,
    ),
    _rule(
        "dropout_keeping_mask",
        ("x", "t"),
        ("y", "mask"),
        _dropout_keeping_mask,
        infer=lambda x, *_, **__: (x, ArraySpec(x.shape, "bool")),
        gradients=(Gradient(of="x", rule="dropout_backward_from_mask", reads=("dy", "mask")),),
        example="nd count",
        constants=_KEYS,
    ),
    _rule(
        "dropout_backward_from_mask",
        ("dy", "mask"),
        ("dx",),
        _dropout_backward_from_mask,
        infer=like(),
        example="nd mask",
        counts_calls=False,
        constants=_KEYS[:1],
    ),
)
