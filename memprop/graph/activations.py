"""Activations h = phi(z): layers that apply one element-wise operator, known by its name."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from memprop.errors import RegistrationError
from memprop.graph.layers import Layer
from memprop.registry import Registry

if TYPE_CHECKING:
    from memprop.graph.build import NetworkBuilder
    from memprop.graph.nodes import Variable


@dataclass(frozen=True, repr=False)
class Activation(Layer):
    """An element-wise layer; its fields are the constants of the operator.

    A subclass names its operator; :func:`memprop.register` makes both known, for example::

        class Softsign(mp.Activation):
            rule = "softsign"

    Attributes:
        rule: the operator, which is also the name that ``MLP(activation=...)`` takes.
        gain: the weights of the layer before are drawn with a variance of ``gain`` over their
            number of inputs: 2 for what lets half of its inputs through (He et al. 2015), 1 for
            what lets all of them through (LeCun et al. 1998).
    """

    rule: ClassVar[str]
    gain: ClassVar[float] = 1.0
    registry: ClassVar["Registry[type[Activation]]"]

    def apply(self, net: "NetworkBuilder", x: "Variable") -> "Variable":
        """Add h = phi(x) to ``net``."""
        return net.result(self.rule, [x], letter="a", **vars(self))


def _check(entry: type[Activation]) -> None:
    if not (isinstance(entry, type) and issubclass(entry, Activation)):
        raise RegistrationError(f"an activation is registered as a class, got {entry!r}")


ACTIVATIONS: Final[Registry[type[Activation]]] = Registry(
    "activation", lambda entry: entry.rule, _check
)
"""Every activation by the name of its operator."""

Activation.registry = ACTIVATIONS
