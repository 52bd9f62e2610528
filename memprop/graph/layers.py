"""Layers: what a model is made of, as frozen specifications that build their part of a graph.

A specification names no sizes but its own: the shape of its input comes with the variable that it
is applied to. Each layer stands in the file of its operator, in ``operators/``.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar

from memprop.checks import check_fields
from memprop.errors import InvalidTypeError

if TYPE_CHECKING:
    from memprop.graph.build import NetworkBuilder
    from memprop.graph.nodes import Variable


@dataclass(frozen=True, repr=False)
class Layer:
    """A part of a model.

    A subclass is a frozen dataclass. Its fields are the options of the layer, each checked (see
    :func:`memprop.checks.option`), and whose :meth:`apply` adds its operators to a graph.

    Attributes:
        begins_layer: whether a new layer begins with it, in the numbers that variables are named
            with: so it is for what has weights. All that follows belongs to that layer.
        input_dtype: the dtype of the samples, if this is the first layer; ``None`` for that of the
            model.
        draws: whether it draws random numbers in training.
    """

    begins_layer: ClassVar[bool] = False
    input_dtype: ClassVar[str | None] = None
    draws: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_fields(self, f"{type(self).__name__}: ")

    def __repr__(self) -> str:
        given = [(f.name, getattr(self, f.name), f.default) for f in fields(self)]
        shown = [
            _written(value) if place == 0 else f"{name}={value!r}"
            for place, (name, value, default) in enumerate(given)
            if value != default
        ]
        return f"{type(self).__name__}({', '.join(shown)})"

    def is_active(self, *, training: bool) -> bool:  # noqa: ARG002 - a subclass may ask
        """Whether it does anything in training, or in inference."""
        return True

    def apply(self, net: "NetworkBuilder", x: "Variable") -> "Variable":
        """Add its operators to ``net``.

        Args:
            net: collects operators and variables.
            x: its input, of shape (batch, ...).

        Returns:
            Its output.

        Raises:
            GraphError: it does not take such an input.
        """
        raise NotImplementedError


def _written(value: object) -> str:
    return f"[{', '.join(map(repr, value))}]" if isinstance(value, tuple) else repr(value)


def listed(owner: str, given: object) -> tuple[Layer, ...]:
    """``given`` as a tuple of layers.

    Raises:
        InvalidTypeError: it is no list, or an entry is no layer.
    """
    if isinstance(given, Layer | type) or not isinstance(given, Iterable):
        raise InvalidTypeError(
            f"{owner} takes a list of layers, such as [mp.Linear(256), mp.ReLU()], got {given!r}"
        )
    layers = tuple(given)
    for place, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            hint = f": write {layer.__name__}()" if isinstance(layer, type) else ""
            raise InvalidTypeError(
                f"{owner}: layers[{place}] must be a layer such as mp.Linear(256), "
                f"got {layer!r}{hint}"
            )
    return layers


def flattened(layers: Iterable[Layer]) -> Iterator[Layer]:
    """``layers``, those inside others after the one that holds them."""
    for layer in layers:
        yield layer
        yield from flattened(getattr(layer, "layers", ()))
