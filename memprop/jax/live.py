"""A loop of real steps in JAX: the arrays that are alive between them.

Within a step, a compiled program is one call: what it needs meanwhile nobody in Python sees. But
whatever it returns is a ``jax.Array``, and :func:`jax.live_arrays` lists all that are alive. So the
bytes after each step are known, and what earlier steps have left, with the lines that made it. The
peak within a step is not; :func:`memprop.jax.simulate_step` predicts it.
"""

import time
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import jax

from memprop.errors import PhaseError
from memprop.jax.sites import in_library, written
from memprop.traces.steps import growth_table, steps_table

if TYPE_CHECKING:
    import pandas as pd


def profile() -> "LiveProfile":
    """Follow a loop of steps that really run: what is alive after each, and what piles up.

    >>> with mpj.profile() as prof:  # doctest: +SKIP
    ...     for x, y in batches:
    ...         params, opt_state, loss = step(params, opt_state, x, y)
    ...         losses.append(loss)
    ...         prof.step()
    >>> prof.steps()[["step", "live_bytes", "growth_bytes"]]  # doctest: +SKIP
    >>> prof.growth()[["bytes", "count", "steps", "shape", "line"]]  # doctest: +SKIP

    It looks at :func:`jax.live_arrays` when it begins and at each ``step()``, and changes nothing:
    it waits for no device. Arrays of the default backend count, whole, however they are sharded.
    """
    return LiveProfile()


@dataclass(frozen=True, slots=True)
class _Seen:
    """An array that was alive at the end of the step that made it; -1 is before the first."""

    array: "weakref.ref[jax.Array]"
    step: int


class LiveProfile:
    """The steps of a loop, by the arrays that live between them; made by :func:`profile`."""

    def __init__(self) -> None:
        self._seen: dict[int, _Seen] | None = None
        self._rows: list[dict[str, float]] = []
        self._live_bytes = 0
        self._at = 0.0
        self._closed = False

    def __enter__(self) -> Self:
        self._look(-1)
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True

    def step(self) -> None:
        """End a step of the loop, and begin the next.

        Raises:
            PhaseError: called outside of the ``with`` block.
        """
        if self._closed or self._seen is None:
            raise PhaseError("step() belongs into the block of `with mpj.profile() as prof:`")
        number, before, began = len(self._rows), self._live_bytes, self._at
        self._look(number)
        row = {"step": number, "live_bytes": self._live_bytes}
        row |= {"growth_bytes": self._live_bytes - before, "seconds": self._at - began}
        self._rows.append(row)

    def steps(self) -> "pd.DataFrame":
        """A row for each step that has ended.

        The columns are those of :meth:`memprop.Profiler.steps`. ``live_bytes`` and ``growth_bytes``
        are of all arrays that are alive at the end, be they computed already or not. ``seconds``
        go from one ``step()`` to the next, which may be before the device has finished. The others,
        the peak, its operator and what it is made of, what is saved, are not known: NaN.
        """
        import pandas as pd

        return pd.DataFrame(self._rows).reindex(columns=steps_table([]).columns)

    def growth(self) -> "pd.DataFrame":
        """What steps before the last one have left: a row for each line, shape and dtype.

        Columns: those of :meth:`memprop.Profiler.growth`, and ``shape`` and ``dtype``. ``line`` is
        where your code made the array, as "train.py:12 (main)". ``category``, ``operator`` and
        ``module`` are "": JAX does not know them. Left out is what was there before the first
        step, and what the last step made: parameters and optimizer state are new arrays in each.
        So a loop that keeps nothing has no rows. Only arrays that are alive now are counted.
        """
        import pandas as pd

        keys = ["category", "operator", "module", "line", "shape", "dtype"]
        columns = [*growth_table([]).columns, "shape", "dtype"]
        rows = [
            {
                "bytes": array.nbytes,
                "step": seen.step,
                **dict.fromkeys(keys[:3], ""),
                "line": _line(array),
                "shape": array.shape,
                "dtype": str(array.dtype),
            }
            for array in jax.live_arrays()
            if (seen := self._known(array)) and 0 <= seen.step < len(self._rows) - 1
        ]
        if not rows:
            return pd.DataFrame(columns=columns)
        grouped = pd.DataFrame(rows).groupby(keys, sort=False)
        found = grouped["bytes"].agg(bytes="sum", count="size")
        found[["steps", "first_step"]] = grouped["step"].agg(["nunique", "min"])
        order = ["bytes", "first_step", "line"]
        found = found.reset_index().sort_values(order, ascending=[False, True, True])
        return found[columns].reset_index(drop=True)

    def _look(self, step: int) -> None:
        """Take note of what is alive; what was not there before is of ``step``."""
        arrays = jax.live_arrays()
        self._seen = {
            id(array): self._known(array) or _Seen(weakref.ref(array), step) for array in arrays
        }
        self._live_bytes = sum(array.nbytes for array in arrays)
        self._at = time.perf_counter()

    def _known(self, array: jax.Array) -> _Seen | None:
        seen = (self._seen or {}).get(id(array))
        return seen if seen is not None and seen.array() is array else None


def _line(array: Any) -> str:
    """The line of the user's code that made an array; "" where JAX has not kept it."""
    traceback = getattr(array, "traceback", None)
    for frame in traceback.frames if traceback is not None else ():
        if not in_library(frame.file_name):
            return written(frame.file_name, frame.line_num, frame.function_name)
    return ""
