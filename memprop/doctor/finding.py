"""One thing that the doctor found."""

from dataclasses import dataclass
from typing import Final

GOOD: Final = "good"
NOTICE: Final = "notice"
PROBLEM: Final = "problem"
STATUSES: Final = (GOOD, NOTICE, PROBLEM)
"""``notice`` costs time or precision, ``problem`` makes results wrong or impossible."""


@dataclass(frozen=True)
class Finding:
    """One thing that was examined.

    Attributes:
        section: the subject.
        status: one of :data:`STATUSES`.
        says: what was found, in one sentence.
        do: what to do about it; "" if there is nothing to be done.
    """

    section: str
    status: str
    says: str
    do: str = ""
