"""What tests leave behind for the end of the session."""

from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from memprop.traces.trace import Trace

TRACES: "Final[pytest.StashKey[list[tuple[str, Trace]]]]" = pytest.StashKey()
"""The traces that a test handed to ``memory_trace``, by the names of their budgets."""
NOTE: Final = "memprop"
"""The property of a report in which a note travels, also from a worker of pytest-xdist."""


class Written:
    """Budgets to be written when the session ends: file, key, record."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, Any]] = {}

    def add(self, files: dict[str, dict[str, Any]]) -> None:
        """Take more of them, from a test or from a worker."""
        for path, records in files.items():
            self.files.setdefault(path, {}).update(records)
