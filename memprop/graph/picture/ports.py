"""Where edges touch their nodes: apart from each other, so that each can be followed."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from memprop.graph.picture.picture import OPERATOR, Node
from memprop.graph.picture.sizes import Size

_APART: Final = 8.0
_SHARE: Final = 0.6
"""The part of a side that edges may touch."""

RIGHT: Final = 1
LEFT: Final = -1


class Touch(NamedTuple):
    """An edge at one side of a node.

    Attributes:
        node: its key.
        side: RIGHT or LEFT.
        edge: the number of the edge in the picture.
        toward: the height that it goes to from there.
    """

    node: str
    side: int
    edge: int
    toward: float


def offsets(touches: Iterable[Touch], sizes: Mapping[str, Size]) -> dict[tuple[int, int], float]:
    """Heights above the middle of the node, by edge and side, in the order in which edges leave."""
    sides: defaultdict[tuple[str, int], list[Touch]] = defaultdict(list)
    for touch in touches:
        sides[touch.node, touch.side].append(touch)
    return {
        (touch.edge, side): offset
        for (key, side), there in sides.items()
        for touch, offset in _spread(there, sizes[key].height)
    }


def _spread(there: Sequence[Touch], height: float) -> Iterable[tuple[Touch, float]]:
    ordered = sorted(there, key=lambda touch: (touch.toward, touch.edge))
    step = min(_APART, _SHARE * height / max(len(ordered) - 1, 1))
    middle = (len(ordered) - 1) / 2
    return ((touch, (place - middle) * step) for place, touch in enumerate(ordered))


def reach(node: Node, size: Size, offset: float) -> float:
    """From the middle of a node to its border at a height above the middle."""
    half = size.width / 2
    if node.kind != OPERATOR:
        return half
    return half * (1 - (2 * offset / size.height) ** 2) ** 0.5
