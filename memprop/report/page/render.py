"""Templates, scripts, styles and data, put together into one file of HTML."""

import base64
import hashlib
import json
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from memprop.terms import CATEGORIES
from memprop.traces.colors import CATEGORY_COLORS
from memprop.version import __version__

SCRIPTS: Final = (
    *("format", "decode", "scales", "tables", "pictures", "axis"),
    *("timeline", "lifetimes", "rows", "view", "explorer", "controls", "pair", "start"),
)
"""In the order in which they need each other."""

STYLES: Final = ("page", "explorer", "print")

_ESCAPES: Final = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}
"""In JSON these signs stand inside strings only, where the escape means the same."""


def render_page(template: str, *, data: dict[str, Any], **values: Any) -> str:
    """The page that ``template`` makes of ``values``, with ``data`` for its scripts.

    The page allows its own script by its hash and nothing else: no other script, no request.
    """
    script = _joined(SCRIPTS, "js")
    environment = Environment(
        loader=PackageLoader("memprop.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(
        **values,
        version=__version__,
        categories=CATEGORY_COLORS,
        styles=Markup(_joined(STYLES, "css")),  # noqa: S704 - our own files
        script=Markup(script),  # noqa: S704
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        data=Markup(embedded({**_CATEGORIES, **data})),  # noqa: S704
    )


_CATEGORIES: Final = {
    "categories": list(CATEGORIES),
    "stacked": [CATEGORIES.index(name) for name in CATEGORY_COLORS],
}
"""The names that numbers stand for, and the order in which they are stacked."""


def embedded(data: object) -> str:
    """``data`` as JSON that may stand in a ``<script>``, whatever names are in it."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    return text.translate(_ESCAPES)


def _joined(names: tuple[str, ...], ending: str) -> str:
    """Our own files, one after the other; scripts in a scope of their own."""
    folder = files("memprop.report.page")
    text = "\n".join((folder / f"{n}.{ending}").read_text(encoding="utf-8") for n in names)
    return f'(() => {{\n"use strict";\n{text}}})();\n' if ending == "js" else text
