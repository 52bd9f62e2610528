"""Making many objects that are there to stay."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def gc_paused() -> Iterator[None]:
    """Inside, Python does not look for garbage in cycles.

    It would look every few hundred objects, through all that were made before; of the thousands
    that make up a deep graph none is garbage, and the looking takes a fifth of their making.
    """
    looking = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if looking:
            gc.enable()
