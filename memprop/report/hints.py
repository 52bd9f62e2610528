"""What a figure says of its points, bars and cells where it is shown on a page.

A figure is drawn once, by matplotlib. Its artists are given texts here; the files of a report hold
the figure alone, and the page shows the texts next to the pointer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from weakref import WeakKeyDictionary

from matplotlib.artist import Artist
from matplotlib.figure import Figure


@dataclass(frozen=True)
class Hint:
    """What is said of one point, bar or cell.

    Attributes:
        text: in lines.
        row: the row of the results that it stands for; ``None`` if it stands for none.
    """

    text: str
    row: int | None = None


_HINTS: Final[WeakKeyDictionary[Artist, tuple[Hint, ...]]] = WeakKeyDictionary()


def give_hints(artist: Artist, hints: Sequence[Hint]) -> None:
    """Say something of each point of a line, or of a bar or a text as a whole."""
    _HINTS[artist] = tuple(hints)


def hints_in(figure: Figure) -> dict[Artist, tuple[Hint, ...]]:
    """The artists of a figure that something is said of, in the order in which they are drawn."""
    found = figure.findobj(lambda artist: artist in _HINTS)
    return {artist: _HINTS[artist] for artist in found}
