"""The picture as a Mermaid flowchart: https://mermaid.js.org/syntax/flowchart.html."""

from collections.abc import Iterator

from memprop.graph.picture.picture import GROUP, OPERATOR, REUSE, VARIABLE, Node, Picture
from memprop.graph.picture.shades import scale_of
from memprop.graph.picture.styles import AGAIN, CACHED, EDGE_STYLES, INK

_BRACKETS = {VARIABLE: ("[", "]"), OPERATOR: ("([", "])"), GROUP: ("[[", "]]")}
_ARROWS = {True: "-.->", False: "-->"}


def to_mermaid(picture: Picture) -> str:
    """The text of a ``.mmd`` file, or of a ``mermaid`` block in Markdown."""
    scale = scale_of(node.bytes for node in picture.nodes)
    names = {node.key: f"n{number}" for number, node in enumerate(picture.nodes)}
    lines = [f"%% {' '.join(picture.caption.split())}", "flowchart LR"]
    lines += [f"  {names[node.key]}{_box(node)}" for node in picture.nodes]
    lines += [
        f"  {names[edge.source]} {_ARROWS[edge.kind == REUSE]} {names[edge.target]}"
        for edge in picture.edges
    ]
    lines += [
        f"  style {names[node.key]} {_look(node, scale.shade(node.bytes))}"
        for node in picture.nodes
    ]
    return "\n".join([*lines, *_link_styles(picture)]) + "\n"


def _box(node: Node) -> str:
    begin, end = _BRACKETS[node.kind]
    text = "<br/>".join(_escaped(line) for line in (node.title, *node.lines))
    return f'{begin}"{text}"{end}'


def _look(node: Node, shade: str) -> str:
    border = CACHED if node.cached else AGAIN if node.is_recomputed else INK
    width = 3 if node.cached or node.is_recomputed else 1
    dashes = ",stroke-dasharray:5 3" if node.is_recomputed else ""
    return f"fill:{shade},stroke:{border},stroke-width:{width}px,color:{INK}{dashes}"


def _link_styles(picture: Picture) -> Iterator[str]:
    for kind, style in EDGE_STYLES.items():
        numbers = [str(n) for n, edge in enumerate(picture.edges) if edge.kind == kind]
        if numbers:
            yield f"  linkStyle {','.join(numbers)} stroke:{style.color}"


def _escaped(text: str) -> str:
    """``text`` with everything that Mermaid, Markdown or HTML could read written as a number."""
    return "".join(c if c.isalnum() or c in " .,_" else f"#{ord(c)};" for c in text)
