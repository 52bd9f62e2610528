"""Figures of matplotlib as parts of a page: their SVG, with a text for each point."""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree as ET

from markupsafe import Markup
from matplotlib.artist import Artist
from matplotlib.figure import Figure

from memprop.report import plots
from memprop.report.hints import Hint, hints_in
from memprop.report.pictures import Picture

_SVG: Final = "http://www.w3.org/2000/svg"
_LINK: Final = "{http://www.w3.org/1999/xlink}href"
_MARK: Final = "hinted-"


@dataclass(frozen=True)
class Inlined:
    """A figure of the report: its name, its caption, and its SVG with the hints."""

    name: str
    caption: str
    svg: Markup


def inlined(picture: Picture) -> Inlined:
    """``picture`` as a page can hold it.

    Names are written as glyphs or escaped, so nothing in them is read as HTML. Comments, metadata
    and the style sheet of the file, which would apply to the whole page, are left out.
    """
    hints = hints_in(picture.figure)
    root = ET.fromstring(_svg_of(picture.figure, list(hints)))  # noqa: S314 - we just wrote it
    _add_hints(root, list(hints.values()))
    _strip(root)
    _prefix_names(root, picture.name)
    for name in ("width", "height"):
        root.attrib.pop(name, None)  # the page decides; the view box keeps the shape
    points = sum(map(len, hints.values()))
    keys = f" Arrow keys read its {points} values one by one." if points else ""
    root.attrib |= {"role": "img", "tabindex": "0", "aria-label": f"{picture.caption}{keys}"}
    root.set("style", "stroke-linejoin: round; stroke-linecap: butt")
    ET.register_namespace("", _SVG)
    ET.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    text = ET.tostring(root, encoding="unicode")
    return Inlined(picture.name, picture.caption, Markup(text))  # noqa: S704 - see above


def _svg_of(figure: Figure, artists: Sequence[Artist]) -> bytes:
    """The SVG of a figure in which each of these artists has its number for a name."""
    written = io.BytesIO()
    with _named(artists):
        plots.write_svg(figure, written)
    return written.getvalue()


@contextmanager
def _named(artists: Sequence[Artist]) -> Iterator[None]:
    for number, artist in enumerate(artists):
        artist.set_gid(f"{_MARK}{number}")
    try:
        yield
    finally:
        for artist in artists:
            artist.set_gid(None)


def _add_hints(root: ET.Element, hints: Sequence[Sequence[Hint]]) -> None:
    for group in root.iter(f"{{{_SVG}}}g"):
        name = group.get("id", "")
        if not name.startswith(_MARK):
            continue
        said = hints[int(name.removeprefix(_MARK))]
        if not said:
            continue
        points = list(group.iter(f"{{{_SVG}}}use")) if len(said) > 1 else [group]
        for point, hint in zip(points, said, strict=True):
            point.set("data-hint", hint.text)
            if hint.row is not None:
                point.set("data-row", str(hint.row))


def _strip(root: ET.Element) -> None:
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                parent.remove(child)


def _prefix_names(root: ET.Element, name: str) -> None:
    """Make the names of elements differ from those of other figures on the page."""
    prefix = re.sub(r"[^a-z0-9]+", "-", name.lower())
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "id":
                element.set(key, f"{prefix}-{value}")
            elif key == _LINK and value.startswith("#"):
                element.set(key, f"#{prefix}-{value[1:]}")
            elif "url(#" in value and not key.startswith(("data-", "aria-")):
                element.set(key, value.replace("url(#", f"url(#{prefix}-"))
