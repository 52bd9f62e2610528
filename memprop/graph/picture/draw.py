"""Drawing a graph, in the format that is asked for."""

import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Protocol, SupportsIndex

from memprop.checks import check_positive_integer
from memprop.errors import GraphError, InvalidValueError, unknown_name
from memprop.files import whole_file, write_whole
from memprop.graph.autodiff import differentiate
from memprop.graph.picture import DEFAULT_BATCH
from memprop.graph.picture.build import Marks, picture_of
from memprop.graph.picture.dot import to_dot
from memprop.graph.picture.fold import fold as folded
from memprop.graph.picture.mermaid import to_mermaid
from memprop.graph.picture.picture import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from memprop.graph.graph import Graph


TEXTS: Final[Mapping[str, Callable[[Picture], str]]] = MappingProxyType(
    {"dot": to_dot, "gv": to_dot, "mmd": to_mermaid}
)
"""Languages that describe a picture, by suffix."""
_FIGURES: Final = ("svg", "png", "pdf")

FORMATS: Final = (*_FIGURES, *TEXTS)
"""What a picture can be written as: the suffixes."""

_UNDATED: Final[Mapping[str, dict[str, Any]]] = MappingProxyType(
    {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
)
"""So that the same picture is the same file."""


class Scheduled(Protocol):
    """What a picture asks of a schedule."""

    @property
    def name(self) -> str:
        """How a user names it."""
        ...

    @property
    def graph(self) -> "Graph":
        """The step that it is for."""
        ...

    @property
    def micro_batches(self) -> int:
        """Into how many micro-batches it takes a batch."""
        ...

    @property
    def marks(self) -> Marks:
        """What it computes how often, and what it caches."""
        ...


def draw(
    graph: "Graph",
    path: str | os.PathLike[str] | None,
    ax: "Axes | None",
    *,
    backward: bool = False,
    fold: bool = True,
    batch: SupportsIndex = DEFAULT_BATCH,
    schedule: Scheduled | None = None,
    format: str | None = None,  # noqa: A002 - what users of matplotlib type
) -> "Axes":
    """Draw ``graph`` as a figure; see :meth:`memprop.graph.graph.Graph.draw`."""
    wanted = _format(path, format)
    how = {"backward": backward, "fold": fold, "batch": batch, "schedule": schedule}
    if wanted in TEXTS:
        if ax is not None:
            raise InvalidValueError(
                f"ax takes a figure, and {wanted!r} is text: leave one of them out"
            )
        method = f"to_{'mermaid' if wanted == 'mmd' else 'dot'}"
        warnings.warn(
            f"draw() returns a figure; for text use {method}()", DeprecationWarning, stacklevel=3
        )
        return as_text(graph, wanted, path, **how)  # pyright: ignore[reportReturnType]
    from memprop.graph.picture.figure import plot

    axes = plot(picture_for(graph, **how), ax)
    if path is not None:
        with whole_file(path) as file:
            _save(axes, file, wanted)
    return axes


def as_text(
    graph: "Graph",
    format: str,  # noqa: A002 - what users of matplotlib type
    path: str | os.PathLike[str] | None,
    **how: Any,
) -> str:
    """``graph`` in one of :data:`TEXTS`; into ``path`` as well, if there is one.

    Args:
        graph: what is drawn.
        format: the name of the language.
        path: where to write.
        how: as for :func:`picture_for`.
    """
    text = TEXTS[format](picture_for(graph, **how))
    if path is not None:
        write_whole(path, text)
    return text


def save(graph: "Graph", path: str | os.PathLike[str], **how: Any) -> None:
    """Write ``graph`` in the format that the suffix of ``path`` names.

    Args:
        graph: what is drawn.
        path: where to write.
        how: as for :func:`picture_for`.

    Raises:
        UnknownNameError: there is no such format.
        OutputError: the place cannot be written.
    """
    wanted = _format(path, None)
    if wanted in TEXTS:
        as_text(graph, wanted, path, **how)
    else:
        draw(graph, path, None, **how)


def picture_for(
    graph: "Graph",
    *,
    backward: bool = False,
    fold: bool = True,
    batch: SupportsIndex = DEFAULT_BATCH,
    schedule: Scheduled | None = None,
) -> Picture:
    """What :meth:`memprop.graph.graph.Graph.draw` draws.

    Raises:
        GraphError: ``schedule`` is that of another graph.
    """
    samples = check_positive_integer("batch", batch)
    if schedule is None:
        made = picture_of(_step(graph) if backward else graph, batch=samples, backward=backward)
    else:
        _check_same(graph, schedule)
        made = picture_of(
            schedule.graph,
            batch=samples // schedule.micro_batches,
            backward=backward,
            marks=schedule.marks,
            caption=f"schedule {schedule.name}",
        )
    return folded(made) if fold else made


def _step(graph: "Graph") -> "Graph":
    """``graph`` with a backward pass: its own, or that of the textbook."""
    if any(operator.phase == "backward" for operator in graph.operators):
        return graph
    return differentiate(graph, "textbook")


def _check_same(graph: "Graph", schedule: Scheduled) -> None:
    for operator in graph.operators:
        if operator.name not in schedule.graph.operators_by_name:
            raise GraphError(
                f"the schedule {schedule.name!r} is not for this graph: it has no operator "
                f"{operator.name!r}. Draw the schedule's own graph, schedule.draw(...)"
            )


def _format(path: str | os.PathLike[str] | None, given: str | None) -> str:
    """The format that is asked for by name or by suffix; a figure without either."""
    suffix = None if path is None else Path(path).suffix.removeprefix(".").lower()
    if given is not None and suffix is not None and given != suffix:
        raise InvalidValueError(f"{str(path)!r} does not end in .{given}: give one of the two")
    wanted = given if given is not None else suffix
    if wanted is None:
        return "svg"
    if wanted not in FORMATS:
        raise unknown_name("format of a picture", wanted, FORMATS)
    return wanted


def _save(axes: "Axes", file: BinaryIO, format: str) -> None:  # noqa: A002
    import matplotlib as mpl

    figure = axes.get_figure(root=True)
    assert figure is not None  # noqa: S101 - axes that were drawn in are in one
    with mpl.rc_context({"svg.hashsalt": "memprop"}):
        figure.savefig(file, format=format, metadata=_UNDATED.get(format))
