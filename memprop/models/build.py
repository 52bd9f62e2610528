"""From a description of an MLP to its forward graph."""

from dataclasses import dataclass
from functools import lru_cache

from memprop.graph.affine import BATCH
from memprop.graph.apply import apply_rule
from memprop.graph.dropout import PART
from memprop.graph.graph import Graph, Operator, Variable
from memprop.graph.optimizers import steps_done


@dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    """What a user writes down of an MLP, checked.

    Attributes:
        widths: input, hidden..., output.
        activation: phi, the same in every hidden layer.
        bias: whether the linear operators add one.
        loss: "cross_entropy" or "mse".
        l2: the strength lambda of the penalty s; with 0 there is no s, and J is L.
        dtype: of everything but labels and masks.
        dropout: the probability p that a hidden unit is dropped in training.
        dropout_mask: one of :data:`memprop.graph.dropout.MASKS`.
        norm: "layer", or ``None`` for none.
        residual: whether hidden layers add their input where it is as wide as their output.
        seed: that the masks of dropout follow from.
    """

    widths: tuple[int, ...]
    activation: str = "relu"
    bias: bool = True
    loss: str = "cross_entropy"
    l2: float = 0.0
    dtype: str = "float32"
    dropout: float = 0.0
    dropout_mask: str = "regenerate"
    norm: str | None = None
    residual: bool = False
    seed: int = 0


@lru_cache(maxsize=32)
def forward_graph(architecture: Architecture, mode: str) -> Graph:
    """The forward pass: z = x W^T + b, h = phi(z), ..., o, and for training L, s, J.

    A hidden layer is h = dropout(phi(norm(z))) + its input, of which those parts are there that
    the architecture has. Equal architectures share one graph, and so all that is planned for it.

    Args:
        architecture: the MLP.
        mode: "train" ends with the objective, "inference" with the output o; it drops nothing.
    """
    builder = _Builder(architecture, training=mode == "train")
    h = builder.source("x", (BATCH, architecture.widths[0]), "input", layer=0)
    *hidden, outputs = architecture.widths[1:]
    for layer, width in enumerate(hidden, start=1):
        h = builder.hidden(h, width, layer)
    o = builder.linear(h, outputs, len(hidden) + 1, "o")
    if mode == "inference":
        return builder.graph(outputs=(o,))
    made = builder.objective(o)
    return builder.graph(outputs=made, objective=made[-1])


class _Builder:
    """Collects variables and operators in order."""

    def __init__(self, architecture: Architecture, *, training: bool) -> None:
        self.architecture = architecture
        self.variables: list[Variable] = []
        self.operators: list[Operator] = []
        self.weights: list[Variable] = []
        self.drops = training and architecture.dropout > 0
        self.steps = steps_done()
        if self.drops:
            self.variables.append(self.steps)

    def source(
        self, name: str, shape, category: str, layer: int | None, dtype: str = ""
    ) -> Variable:
        dtype = dtype or self.architecture.dtype
        variable = Variable(name=name, shape=shape, dtype=dtype, category=category, layer=layer)
        self.variables.append(variable)
        return variable

    def apply(self, rule: str, operator: str, inputs, *outputs: str, **where) -> Variable:
        node, made = apply_rule(
            rule,
            operator=operator,
            inputs=inputs,
            outputs=[(output, "activation") for output in outputs],
            **where,
        )
        self.operators.append(node)
        self.variables.extend(made)
        return made[0]

    def hidden(self, h: Variable, width: int, layer: int) -> Variable:
        """The layer's output h, whatever it is made of."""
        architecture = self.architecture
        skips = architecture.residual and h.shape[-1] == width
        where = {"phase": "forward", "layer": layer}
        z = self.linear(h, width, layer, f"z{layer}")
        n = z if architecture.norm is None else self.norm(z, layer)
        activation = architecture.activation
        a = f"a{layer}" if self.drops or skips else f"h{layer}"
        made = self.apply(activation, f"{activation}_{layer}", [n], a, **where)
        if self.drops:
            made = self.dropout(made, layer, f"k{layer}" if skips else f"h{layer}")
        return self.apply("add", f"add_{layer}", [made, h], f"h{layer}", **where) if skips else made

    def linear(self, h: Variable, width: int, layer: int, output: str) -> Variable:
        W = self.source(f"W{layer}", (width, h.shape[-1]), "parameter", layer)
        self.weights.append(W)
        inputs = [h, W]
        if self.architecture.bias:
            inputs.append(self.source(f"b{layer}", (width,), "parameter", layer))
        rule = "affine" if self.architecture.bias else "linear"
        return self.apply(rule, f"linear_{layer}", inputs, output, phase="forward", layer=layer)

    def norm(self, z: Variable, layer: int) -> Variable:
        scale = [
            self.source(f"{name}{layer}", z.shape[1:], "parameter", layer)
            for name in ("gamma", "beta")
        ]
        where = {"phase": "forward", "layer": layer}
        return self.apply("layer_norm", f"norm_{layer}", [z, *scale], f"n{layer}", **where)

    def dropout(self, a: Variable, layer: int, output: str) -> Variable:
        keeps = self.architecture.dropout_mask == "store"
        return self.apply(
            "dropout_keeping_mask" if keeps else "dropout",
            f"dropout_{layer}",
            [a, self.steps],
            *([output, f"mask{layer}"] if keeps else [output]),
            phase="forward",
            layer=layer,
            p=self.architecture.dropout,
            seed=self.architecture.seed,
            stream=layer,
            **{PART: 1},
        )

    def objective(self, o: Variable) -> tuple[Variable, ...]:
        """L, and s and J where there is a penalty."""
        loss, l2 = self.architecture.loss, self.architecture.l2
        if loss == "cross_entropy":
            y = self.source("y", (BATCH,), "input", layer=None, dtype="int64")
        else:
            y = self.source("y", o.shape, "input", layer=None)
        L = self.apply(loss, loss, [o, y], "L", phase="loss")
        if l2 == 0:
            return (L,)
        s = self.apply("penalty", "penalty", self.weights, "s", phase="loss", strength=l2)
        return L, s, self.apply("objective", "objective", [L, s], "J", phase="loss")

    def graph(self, outputs: tuple[Variable, ...], objective: Variable | None = None) -> Graph:
        return Graph.of_rules(
            variables=tuple(self.variables),
            operators=tuple(self.operators),
            outputs=tuple(variable.name for variable in outputs),
            objective=objective.name if objective else None,
        )
