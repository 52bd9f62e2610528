"""From the description of a network, a sequence of layers, to its forward graph.

Variables are named as Dive into Deep Learning 5.3 names them. A layer begins with each set of
weights (a linear map, a convolution, an embedding); what follows belongs to it. In layer 2, z2 is
the result of the weights, n2 of a norm, a2 of an activation, k2 of dropout, and whatever comes last
and goes on to the next layer is h2. The last result of all is the output o.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate
from string import ascii_lowercase
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from memprop.errors import GraphError
from memprop.graph.activations import Activation
from memprop.graph.affine import BATCH
from memprop.graph.apply import apply_rule
from memprop.graph.graph import Graph, Operator, Variable
from memprop.graph.initial import Initial, normal, zeros
from memprop.graph.layers import Layer, flattened
from memprop.graph.losses import LOSSES
from memprop.graph.micro_batches import MICRO_BATCH
from memprop.graph.optimizers import steps_done


@dataclass(frozen=True, kw_only=True)
class Network:
    """What a network is made of, checked.

    Attributes:
        layers: in order.
        inputs: the shape of a sample.
        loss: the name of a registered loss.
        l2: the strength lambda of the penalty s; with 0 there is no s, and J is L.
        dtype: of everything but integers and masks.
        seed: that the masks of dropout follow from.
    """

    layers: tuple[Layer, ...]
    inputs: tuple[int, ...]
    loss: str = "cross_entropy"
    l2: float = 0.0
    dtype: str = "float32"
    seed: int = 0

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        # Every step asks its caches, and a deep network has thousands of layers.
        return hash((self.layers, self.inputs, self.loss, self.l2, self.dtype, self.seed))


class Built(NamedTuple):
    """A forward graph, and how its parameters begin, by name."""

    graph: Graph
    initial: Mapping[str, Initial]


@lru_cache(maxsize=32)
def build(network: Network, mode: str) -> Built:
    """The forward pass of ``network``: x through its layers to o, and for training L, s, J.

    Equal networks share one graph, and so all that is planned for it.

    Args:
        network: the layers and the loss.
        mode: "train" ends with the objective, "inference" with the output o; it drops nothing.

    Raises:
        GraphError: a layer does not take what the one before it makes.
    """
    net = NetworkBuilder(network, training=mode == "train")
    dtype = next((layer.input_dtype for layer in network.layers), None) or network.dtype
    x = net.source("x", (BATCH, *network.inputs), "input", layer=0, dtype=dtype)
    o = net.sequence(network.layers, x, last=True)
    if mode == "inference":
        return net.built(outputs=(o,))
    made = net.objective(o)
    return net.built(outputs=made, objective=made[-1])


_NEXT_STREAM: Final = 1 << 32
"""What a further operator of one layer that draws adds to the number of its stream."""


class NetworkBuilder:
    """Collects the variables and operators of a forward pass, in order.

    Attributes:
        training: whether the graph is one for training.
        dtype: of the parameters.
        seed: of what is random.
        layer: the number of the layer that is being built; 0 before the first.
    """

    def __init__(self, network: Network, *, training: bool) -> None:
        self.network = network
        self.training = training
        self.dtype, self.seed, self.layer = network.dtype, network.seed, 0
        self._variables: list[Variable] = []
        self._operators: list[Operator] = []
        self._taken: set[str] = set()
        self._decayed: list[Variable] = []
        self._initial: dict[str, Initial] = {}
        self._streams: set[int] = set()
        self._end: str | None = None  # how the result of the layer being applied is called
        self._gains = _gains(network.layers)
        if training and any(_draws(layer) for layer in flattened(network.layers)):
            self._variables.append(steps_done())

    # What layers call

    def parameter(
        self,
        name: str,
        shape: Sequence[int],
        initial: Initial = zeros,
        *,
        decays: bool = False,
    ) -> Variable:
        """A parameter of the layer being built.

        Args:
            name: as "W"; the number of the layer is added.
            shape: without a batch.
            initial: how it begins.
            decays: whether the penalty s counts it, as it does weights.
        """
        named = self._free_name(f"{name}{self.layer}")
        variable = self.source(named, tuple(shape), "parameter", layer=self.layer)
        self._initial[named] = initial
        if decays:
            self._decayed.append(variable)
        return variable

    def weights(self, shape: Sequence[int], name: str = "W") -> Variable:
        """Weights of shape (outputs, inputs, ...), drawn for the activation that follows.

        They are normal with a variance of the activation's gain over the number of inputs to each
        output: 2 / n for relu and its kin (He et al. 2015), 1 / n otherwise (LeCun et al. 1998).
        """
        fan_in = math.prod(shape[1:])
        initial = normal((self._gains[self.layer] / fan_in) ** 0.5)
        return self.parameter(name, shape, initial, decays=True)

    def apply(
        self, rule: str, inputs: Iterable[Variable], letter: str, *residuals: str, **constants: Any
    ) -> Variable:
        """An operator of the layer being built, and its result.

        Args:
            rule: the operator.
            inputs: what it reads.
            letter: what its result is called; the number of the layer is added.
            residuals: what its further results are called, for backward.
            constants: attributes of the operator; ``label`` names the operator, which is otherwise
                named after its rule.
        """
        label = str(constants.pop("label", rule))
        outputs = [self._free_name(f"{name}{self.layer}") for name in (letter, *residuals)]
        return self._apply(rule, f"{label}_{self.layer}", inputs, outputs, **constants)

    def result(
        self, rule: str, inputs: Iterable[Variable], letter: str, *residuals: str, **constants: Any
    ) -> Variable:
        """As :meth:`apply`, for the operator whose result is that of the whole layer."""
        if self._end is None:
            return self.apply(rule, inputs, letter, *residuals, **constants)
        label = str(constants.pop("label", rule))
        end = self._end if self._end == "o" else f"{self._end}{self.layer}"
        names = (end, *(f"{name}{self.layer}" for name in residuals))
        outputs = [self._free_name(name) for name in names]
        return self._apply(rule, f"{label}_{self.layer}", inputs, outputs, **constants)

    def sequence(self, layers: Sequence[Layer], x: Variable, *, last: bool = False) -> Variable:
        """The output of ``layers``, applied one after the other to ``x``.

        Args:
            layers: the layers.
            x: the input of the first.
            last: whether nothing comes after them, so that their output is that of the network.
        """
        active = [layer for layer in layers if layer.is_active(training=self.training)]
        for place, layer in enumerate(active, start=1):
            after = active[place] if place < len(active) else None
            end = "o" if last else None
            if after is not None:
                end = "h" if _begins_layer(after) else None
            if layer.begins_layer:
                self.layer += 1
            before, self._end = self._end, end
            x = self._applied(layer, x)
            self._end = before
        return x

    def residual(self, layers: Sequence[Layer], x: Variable) -> Variable:
        """``x`` and the output of ``layers`` applied to it, added."""
        y = self.sequence(layers, x)
        return self.result("add", [y, x], "r")

    def draw(self) -> dict[str, Any]:
        """The constants of an operator that draws random numbers, its own in this network."""
        stream = self.layer
        while stream in self._streams:
            stream += _NEXT_STREAM
        self._streams.add(stream)
        return {"seed": self.seed, "stream": stream, MICRO_BATCH: 1}

    @property
    def steps(self) -> Variable:
        """The variable that counts the steps, for what draws other numbers in each."""
        return self._variables[0]

    # What build() calls

    def source(
        self, name: str, shape: tuple[Any, ...], category: str, layer: int | None, dtype: str = ""
    ) -> Variable:
        """A variable that no operator writes."""
        variable = Variable(name, shape, dtype or self.dtype, category, layer)
        self._taken.add(name)
        self._variables.append(variable)
        return variable

    def objective(self, o: Variable) -> tuple[Variable, ...]:
        """L, and s and J where there is a penalty."""
        loss, l2 = self.network.loss, self.network.l2
        shape, dtype = LOSSES[loss].targets(o)
        y = self.source("y", shape, "input", layer=None, dtype=dtype)
        L = self._apply(loss, loss, [o, y], ["L"], phase="loss")
        if l2 == 0 or not self._decayed:
            return (L,)
        s = self._apply("penalty", "penalty", self._decayed, ["s"], phase="loss", strength=l2)
        return L, s, self._apply("objective", "objective", [L, s], ["J"], phase="loss")

    def built(self, outputs: tuple[Variable, ...], objective: Variable | None = None) -> Built:
        """What was collected."""
        graph = Graph.of_rules(
            variables=tuple(self._variables),
            operators=tuple(self._operators),
            outputs=tuple(variable.name for variable in outputs),
            objective=objective.name if objective else None,
        )
        return Built(graph, MappingProxyType(self._initial))

    # How it is done

    def _applied(self, layer: Layer, x: Variable) -> Variable:
        try:
            return layer.apply(self, x)
        except GraphError as error:
            if str(error).startswith("layer "):
                raise
            raise GraphError(f"layer {self.layer}, {layer!r}: {error}") from None

    def _apply(
        self,
        rule: str,
        operator: str,
        inputs: Iterable[Variable],
        outputs: Sequence[str],
        phase: str = "forward",
        **constants: Any,
    ) -> Variable:
        node, made = apply_rule(
            rule,
            operator=self._free_name(operator),
            inputs=inputs,
            outputs=[(output, "activation") for output in outputs],
            phase=phase,
            layer=self.layer if phase == "forward" else None,
            **constants,
        )
        self._operators.append(node)
        self._variables.extend(made)
        return made[0]

    def _free_name(self, name: str) -> str:
        """``name``, with a letter added if it is taken: of two norms in layer 2, n2 and n2b."""
        if name not in self._taken:
            self._taken.add(name)
            return name
        choices = [f"{name}{letter}" for letter in ascii_lowercase[1:]]
        free = next((choice for choice in choices if choice not in self._taken), None)
        if free is None:
            raise GraphError(f"a layer has more than {len(choices) + 1} results called {name}")
        self._taken.add(free)
        return free


def _draws(layer: Layer) -> bool:
    return layer.draws and layer.is_active(training=True)


def _begins_layer(layer: Layer) -> bool:
    """Whether the first operator of ``layer`` is that of a new layer."""
    inside = getattr(layer, "layers", None)
    return _begins_layer(inside[0]) if inside else layer.begins_layer


def _gains(layers: Iterable[Layer]) -> tuple[float, ...]:
    """For each layer the gain that its weights are drawn with: that of the next activation.

    Weights that no activation follows, those of the last layer, take the gain of the one before.
    """
    gains: list[float | None] = [None]
    for layer in flattened(layers):
        if layer.begins_layer:
            gains.append(getattr(layer, "gain", None))
        elif isinstance(layer, Activation) and gains[-1] is None:
            gains[-1] = layer.gain
    following = _filled(gains[::-1])[::-1]
    return tuple(gain or 1.0 for gain in _filled(following))


def _filled(values: Sequence[float | None]) -> list[float | None]:
    """``values``, each that is missing replaced by the one before it."""
    return list(accumulate(values, lambda before, value: before if value is None else value))
