"""From a description of an MLP to its forward graph."""

from memprop.graph.affine import BATCH
from memprop.graph.apply import apply_rule
from memprop.graph.graph import Graph, Operator, Variable


def forward_graph(
    widths: tuple[int, ...],
    *,
    activation: str,
    bias: bool,
    loss: str,
    l2: float,
    dtype: str,
    mode: str,
) -> Graph:
    """The forward pass of an MLP: z = x W^T + b, h = phi(z), ..., o, and for training L, s, J.

    Args:
        widths: input, hidden..., output.
        activation: phi, the same in every hidden layer.
        bias: whether the linear operators add one.
        loss: "cross_entropy" or "mse".
        l2: the strength lambda of the penalty s; with 0 there is no s, and J is L.
        dtype: of everything but labels.
        mode: "train" ends with the objective, "inference" with the output o.
    """
    builder = _Builder(dtype)
    h = builder.source("x", (BATCH, widths[0]), "input", layer=0)
    depth = len(widths) - 2
    for layer in range(1, depth + 2):
        output = layer == depth + 1
        z = builder.linear(h, widths[layer], layer, bias, "o" if output else f"z{layer}")
        h = z if output else builder.activation(activation, z, layer)
    if mode == "inference":
        return builder.graph(outputs=(h,))
    outputs = builder.objective(h, loss, l2)
    return builder.graph(outputs=outputs, objective=outputs[-1])


class _Builder:
    """Collects variables and operators in order."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype
        self.variables: list[Variable] = []
        self.operators: list[Operator] = []
        self.weights: list[Variable] = []

    def source(
        self, name: str, shape, category: str, layer: int | None, dtype: str = ""
    ) -> Variable:
        variable = Variable(
            name=name, shape=shape, dtype=dtype or self.dtype, category=category, layer=layer
        )
        self.variables.append(variable)
        return variable

    def apply(self, rule: str, operator: str, inputs, output: str, **where) -> Variable:
        node, made = apply_rule(
            rule, operator=operator, inputs=inputs, outputs=[(output, "activation")], **where
        )
        self.operators.append(node)
        self.variables.extend(made)
        return made[0]

    def linear(self, h: Variable, width: int, layer: int, bias: bool, output: str) -> Variable:
        W = self.source(f"W{layer}", (width, h.shape[-1]), "parameter", layer)
        self.weights.append(W)
        inputs = [h, W]
        if bias:
            inputs.append(self.source(f"b{layer}", (width,), "parameter", layer))
        rule = "affine" if bias else "linear"
        return self.apply(rule, f"linear_{layer}", inputs, output, phase="forward", layer=layer)

    def activation(self, name: str, z: Variable, layer: int) -> Variable:
        return self.apply(name, f"{name}_{layer}", [z], f"h{layer}", phase="forward", layer=layer)

    def objective(self, o: Variable, loss: str, l2: float) -> tuple[Variable, ...]:
        """L, and s and J where there is a penalty."""
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
        return Graph(
            variables=tuple(self.variables),
            operators=tuple(self.operators),
            outputs=tuple(variable.name for variable in outputs),
            objective=objective.name if objective else None,
        )
