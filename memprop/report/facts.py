"""Where a sweep was measured, as lines that can be read."""

from collections.abc import Iterator
from typing import Any


def facts(environment: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """The environment as lines of name and value; the command stands elsewhere."""
    for name, value in environment.items():
        if isinstance(value, dict):
            yield from facts(value, f"{prefix}{name} ")
        elif name != "command":
            yield f"{prefix}{name}", str(value)
