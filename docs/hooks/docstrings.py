"""Docstrings speak to people in a terminal too, in Sphinx' way: here they become Markdown."""

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:attr|class|data|exc|func|meth|mod):`~?([\w.]+)`")
_LITERAL = re.compile(r"^[ \t]*::$|(?<=\w:):$", re.MULTILINE)
_DOCTEST = re.compile(r"^>>> .*(?:\n.+)*", re.MULTILINE)


class Markdown(griffe.Extension):
    """Names in roles become links where the site has them; literal blocks and doctests, code."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite the docstring of a module, class, function or attribute."""
        if obj.docstring is None:
            return
        text = _ROLE.sub(lambda role: _link(obj, role[1]), obj.docstring.value)
        text = _LITERAL.sub("", text)
        obj.docstring.value = _DOCTEST.sub(r"```python\n\g<0>\n```", text)


def _link(obj: griffe.Object, name: str) -> str:
    try:
        full = obj.resolve(name)
    except griffe.NameResolutionError:
        full = name
    shown = name.removeprefix("memprop.")
    return f'<autoref optional identifier="{full}"><code>{shown}</code></autoref>'
