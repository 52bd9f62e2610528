"""The picture as DOT, the language of Graphviz: https://graphviz.org/doc/info/lang.html."""

from collections.abc import Iterator, Mapping

from memprop.graph.picture.picture import GROUP, OPERATOR, VARIABLE, Edge, Node, Picture
from memprop.graph.picture.shades import Scale, scale_of
from memprop.graph.picture.styles import AGAIN, CACHED, EDGE_STYLES, INK

_SHAPES = {VARIABLE: "square", OPERATOR: "ellipse", GROUP: "box3d"}


def to_dot(picture: Picture) -> str:
    """The text of a ``.dot`` file."""
    scale = scale_of(node.bytes for node in picture.nodes)
    return "\n".join(
        [
            "digraph memprop {",
            f"  graph [rankdir=LR, label={_quoted(picture.caption)}];",
            '  node [fontname="Helvetica", fontsize=10, style=filled];',
            *(_node(node, scale) for node in picture.nodes),
            *(_edge(edge) for edge in picture.edges),
            "}\n",
        ]
    )


def _node(node: Node, scale: Scale) -> str:
    return f"  {_quoted(node.key)} [{_attributes(dict(_look(node, scale)))}];"


def _look(node: Node, scale: Scale) -> Iterator[tuple[str, str]]:
    yield "label", "\n".join((node.title, *node.lines))
    yield "shape", _SHAPES[node.kind]
    yield "fillcolor", scale.shade(node.bytes)
    yield "color", CACHED if node.cached else AGAIN if node.is_recomputed else INK
    yield "penwidth", "3" if node.cached else "1"
    if node.is_recomputed:
        yield "peripheries", "2"


def _edge(edge: Edge) -> str:
    style = EDGE_STYLES[edge.kind]
    look = {"color": style.color, "style": "dashed" if style.dashed else "solid"}
    return f"  {_quoted(edge.source)} -> {_quoted(edge.target)} [{_attributes(look)}];"


def _attributes(look: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={_quoted(value)}" for name, value in look.items())


def _quoted(text: str) -> str:
    r"""``text`` as a quoted string of DOT, where ``\`` begins an escape and ``\n`` ends a line."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
