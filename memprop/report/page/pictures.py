"""Figures of matplotlib as parts of a page."""

import base64
import io
from dataclasses import dataclass

from memprop.report import plots
from memprop.report.pictures import Picture


@dataclass(frozen=True)
class Inlined:
    """A figure of the report: its caption, and its SVG as an address that holds it."""

    caption: str
    address: str


def inlined(picture: Picture) -> Inlined:
    """``picture`` as a page can hold it."""
    written = io.BytesIO()
    plots.write_svg(picture.figure, written)
    data = base64.b64encode(written.getvalue()).decode()
    return Inlined(picture.caption, f"data:image/svg+xml;base64,{data}")
