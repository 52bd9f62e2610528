"""What is drawn: boxes, circles and the arrows between them, as plain data.

Every renderer reads this and nothing else, so they cannot disagree on what the graph is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

VARIABLE: Final = "variable"
OPERATOR: Final = "operator"
GROUP: Final = "group"
"""Kinds of nodes: squares, circles, and the boxes that stand for many layers."""

FORWARD: Final = "forward"
BACKWARD: Final = "backward"
REUSE: Final = "reuse"
"""Kinds of edges: data of the forward pass; what backward computes, and the parameters and labels
that it reads; cached intermediates that it reads."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """One thing in a picture.

    Attributes:
        key: unique in the picture: kind and name.
        kind: "variable", "operator" or "group".
        name: its name in the graph.
        title: as the textbook writes it: ``z``, ``∂J/∂W1``, ``×``.
        lines: what stands under the title.
        bytes: of a variable, or of all variables of a group; 0 for an operator.
        shape: of a variable.
        dtype: of a variable.
        phase: "forward", "loss" or "backward"; that of its maker for a variable.
        layer: the layer it belongs to; ``None`` for a group.
        alike: equal for nodes of two layers that do the same.
        runs: how often it is computed; the most of its members for a group.
        cached: whether it is alive when backward begins because backward reads it.
        layers: first and last layer of a group.
        members: keys of the nodes that a group stands for.
    """

    key: str
    kind: str
    name: str
    title: str
    lines: tuple[str, ...] = ()
    bytes: int = 0
    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    phase: str = "forward"
    layer: int | None = None
    alike: tuple[object, ...] = ()
    runs: int = 1
    cached: bool = False
    layers: tuple[int, int] | None = None
    members: tuple[str, ...] = ()

    @property
    def is_backward(self) -> bool:
        """Whether it belongs to the backward pass."""
        return self.phase == "backward"

    @property
    def is_recomputed(self) -> bool:
        """Whether it is recomputed."""
        return self.runs > 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Edge:
    """Data that flows from one node to another.

    Attributes:
        source: key of the node it comes from.
        target: key of the node it goes to.
        kind: "forward", "backward" or "reuse".
    """

    source: str
    target: str
    kind: str


@dataclass(frozen=True, kw_only=True)
class Picture:
    """Nodes and edges in the order of the graph.

    Attributes:
        nodes: all of them.
        edges: no two from the same node to the same node.
        batch: the samples that shapes and bytes are given for.
        caption: what the picture is of, in one line.
    """

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    batch: int
    caption: str

    @cached_property
    def by_key(self) -> Mapping[str, Node]:
        """The nodes by key."""
        return {node.key: node for node in self.nodes}


def key_of(kind: str, name: str) -> str:
    """The key of a node: a variable and an operator may have one name."""
    return f"{kind} {name}"
