"""The three findings that a page begins with."""

from collections.abc import Sequence
from itertools import islice, zip_longest
from typing import Final

MOST: Final = 3


def headline(kinds: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Three findings in their order, each by its first sentence.

    The first finding of each kind is taken, then the second of each, and so on.
    """
    turns = zip_longest(*kinds)
    found = (finding for turn in turns for finding in turn if finding is not None)
    chosen = list(islice(found, MOST))
    return tuple(
        _first_sentence(finding) for kind in kinds for finding in kind if finding in chosen
    )


def _first_sentence(finding: str) -> str:
    first, stop, _ = finding.partition(". ")
    return f"{first}." if stop else first
