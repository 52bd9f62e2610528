"""The C library's heap, which keeps freed memory resident unless it is asked to hand it back.

Free memory that is still resident when a witness takes its baseline would be used again unseen.
"""

import ctypes
import gc


def hand_back() -> None:
    """Collect garbage, and hand all free memory back to the kernel where the C library can."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
