"""What a witness is, and the registry of all witnesses."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from memprop.registry import Registry

Step = Callable[[], object]


@dataclass(frozen=True)
class Bound:
    """What is promised of a witness.

    Attributes:
        text: in words.
        bytes_of: how far it may be from the ledger, from the bytes that a step needs beyond what
            was there before it; arrays of any shape.
    """

    text: str
    bytes_of: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Witness:
    """Something other than the ledger that sees the peak of a step.

    It is then a choice for the witnesses of a sweep, a column ``NAME_peak`` of its results, a row
    of the report and of ``memprop doctor``.

    Attributes:
        name: how users name it.
        measure: runs a step, several times if need be, and returns the growth of its peak in bytes;
            ``None`` where this machine cannot measure it: never a guess.
        bound: how far from the ledger it may be; ``None`` if nothing is promised, as of one that
            samples.
        load: imports what it uses. It is called before a trial begins, as importing takes longer
            than most steps.
        why_not: asked where it could not measure: why, in words; ``None`` if it does not know.
    """

    registry: ClassVar["Registry[Witness]"]

    name: str
    measure: Callable[[Step], int | None]
    bound: Bound | None = None
    load: Callable[[], object] = lambda: None
    why_not: Callable[[], str | None] = lambda: None


WITNESSES: Final = Registry[Witness]("witness", lambda entry: entry.name)
"""Every witness by name."""

Witness.registry = WITNESSES
