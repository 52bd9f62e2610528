"""Training against inference, or any step against another."""

from typing import TYPE_CHECKING

from memprop.terms import CATEGORIES

if TYPE_CHECKING:
    import pandas as pd

    from memprop.traces.trace import Trace


def compare(a: "Trace", b: "Trace") -> "pd.DataFrame":
    """What lives at the peak of each of two steps, a row per category and one for the total.

    Columns: ``category``, ``a_bytes``, ``b_bytes``, ``difference_bytes`` (a less b) and ``ratio``
    (a to b; missing where b has none).
    """
    import pandas as pd

    first, second = a.peak_by_category(), b.peak_by_category()
    frame = pd.DataFrame(
        {
            "category": [*CATEGORIES, "total"],
            "a_bytes": [*(first[name] for name in CATEGORIES), a.peak],
            "b_bytes": [*(second[name] for name in CATEGORIES), b.peak],
        }
    )
    frame["difference_bytes"] = frame["a_bytes"] - frame["b_bytes"]
    frame["ratio"] = frame["a_bytes"] / frame["b_bytes"].where(frame["b_bytes"] > 0)
    return frame
