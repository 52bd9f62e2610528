"""A schedule as the key of a cache."""

from memprop.graph.graph import Graph
from memprop.schedules.actions import Action


class Same:
    """Actions over a graph, equal to the very same actions over the very same graph.

    Telling whether thousands of actions are alike would take longer than most of what is kept for
    them. The batch size of a schedule has no part in it.
    """

    def __init__(self, graph: Graph, actions: tuple[Action, ...]) -> None:
        self.graph = graph
        self.actions = actions

    def __hash__(self) -> int:
        return id(self.actions)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Same):
            return NotImplemented
        return self.actions is other.actions and self.graph is other.graph
