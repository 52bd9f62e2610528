"""How kinds of edges and marks of nodes look, in every format.

Colours are those of Okabe & Ito (2008). In grey print reuses differ by their dashes; forward and
backward by where their arrows point.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from memprop.graph.picture.picture import BACKWARD, FORWARD, REUSE

INK: Final = "#1a1a1a"


class EdgeStyle(NamedTuple):
    """An edge's colour, whether it is dashed, and what it means."""

    color: str
    dashed: bool
    meaning: str


EDGE_STYLES: Final[Mapping[str, EdgeStyle]] = MappingProxyType(
    {
        FORWARD: EdgeStyle("#4d4d4d", False, "forward"),
        BACKWARD: EdgeStyle("#0072B2", False, "backward"),
        REUSE: EdgeStyle("#D55E00", True, "reuse of a cached intermediate"),
    }
)

CACHED: Final = "#D55E00"
"""The border of what is cached, and thicker than others."""

AGAIN: Final = "#009E73"
"""The second border of operators that are recomputed."""
