"""``@pytest.mark.peak_memory``: what a test allocates at most, as tracemalloc sees it.

tracemalloc knows what lived at the peak only if somebody looks at that moment. A thread looks at
the total every millisecond, and at the sites once the budget is exceeded: what it saw is told with
the size at which it looked, never as the peak itself.
"""

import gc
import threading
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import pytest

from memprop.errors import MempropError
from memprop.profiler.sites import site_of
from memprop.units import format_bytes, parse_bytes
from pytest_memprop.budgets import largest

if TYPE_CHECKING:
    from memprop.traces.trace import Trace

_SECONDS: Final = 0.001
_FRAMES: Final = 4
"""Enough to see through NumPy's functions to the user's line; each makes allocating slower."""
_MOST_SITES: Final = 8
_LEAST_SHARE: Final = 0.01
"""Of what lived: lines with less are not told."""
_GROWN: Final = 1.25
"""Look at the sites again when there is so much more than at the last look."""


def budget_of(marker: pytest.Mark) -> int:
    """The bytes that a marker allows."""
    try:
        (budget,) = marker.args
        return parse_bytes(budget)
    except ValueError as error:
        reason = str(error) if isinstance(error, MempropError) else f"got {marker.args!r}"
    except TypeError as error:
        reason = str(error)
    usage = 'peak_memory takes one size, as in @pytest.mark.peak_memory("64 MiB")'
    return pytest.fail(f"{usage}: {reason}", pytrace=False)


class Peak:
    """Measures what is allocated between entering and leaving, above what was there before.

    Attributes:
        budget: bytes that are allowed.
        grown: the peak, in bytes.
        looked: whether the sites were looked at while the budget was exceeded; the peak may then
            be a little higher than ``grown``, for the look itself allocates.
        seen_bytes: what lived when the sites were looked at.
        sites: bytes by file and line then, the largest first.
        stopped: whether the test stopped tracemalloc, so that nothing is known.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.grown = 0
        self.looked = False
        self.seen_bytes = 0
        self.sites: list[tuple[str, int]] = []
        self.stopped = False
        self._over = threading.Event()
        self._looking = threading.Lock()

    def __enter__(self) -> Self:
        gc.collect()
        self._started = not tracemalloc.is_tracing()
        if self._started:
            tracemalloc.start(_FRAMES)
        self._reset_peak, tracemalloc.reset_peak = tracemalloc.reset_peak, self._remember
        self._stop, tracemalloc.stop = tracemalloc.stop, self._give_up
        self._before = Counter[str]() if self._started else _by_site()
        self._begin()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        self._begin()  # the thread itself does not count
        return self

    def _begin(self) -> None:
        self._reset_peak()
        self._base = tracemalloc.get_traced_memory()[0]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._over.set()
        self._watcher.join()
        tracemalloc.reset_peak, tracemalloc.stop = self._reset_peak, self._stop
        if self.stopped:
            return
        self._note_peak()
        if self.grown > self.budget and not self.looked:
            self._look_at_sites()
        if self._started:
            tracemalloc.stop()

    def look(self) -> None:
        """Look at the total once, and at the sites if there is much more than the budget allows."""
        with self._looking:
            live = tracemalloc.get_traced_memory()[0] - self._base
            if live > max(self.budget, _GROWN * self.seen_bytes):
                self._note_peak()
                self._look_at_sites()
                self.looked = True
                self._reset_peak()

    def _watch(self) -> None:
        while not self._over.wait(_SECONDS) and tracemalloc.is_tracing():
            self.look()

    def _look_at_sites(self) -> None:
        self.seen_bytes = tracemalloc.get_traced_memory()[0] - self._base
        found = _by_site()
        found.subtract(self._before)
        least = max(_LEAST_SHARE * self.seen_bytes, 1)
        self.sites = [row for row in found.most_common(_MOST_SITES) if row[1] >= least]

    def _note_peak(self) -> None:
        self.grown = max(self.grown, tracemalloc.get_traced_memory()[1] - self._base)

    def _remember(self) -> None:
        """In place of ``tracemalloc.reset_peak``: the test may call it, and its peak counts."""
        with self._looking:
            self._note_peak()
            self._reset_peak()

    def _give_up(self) -> None:
        """In place of ``tracemalloc.stop``: what is allocated from then on is not known."""
        self.stopped = True
        self._stop()


def _by_site() -> Counter[str]:
    """Bytes that live now, by the innermost line outside NumPy and memprop."""
    found: Counter[str] = Counter()
    for one in tracemalloc.take_snapshot().statistics("traceback"):
        found[site_of((f.filename, f.lineno) for f in reversed(one.traceback))] += one.size
    return found


def exceeded(peak: Peak, traces: "Sequence[tuple[str, Trace]]") -> str:
    """What to tell of a test that allocated too much; "" if it did not."""
    if peak.stopped:
        return "the test stopped tracemalloc, so its peak is not known: leave it running there"
    if peak.grown <= peak.budget:
        return ""
    least = " or a little more" if peak.looked else ""
    told = f"peak memory {format_bytes(peak.grown)} ({peak.grown:,} bytes){least}, by tracemalloc"
    lines = [f"{told}: the budget is {format_bytes(peak.budget)} ({peak.budget:,} bytes)"]
    lines += _told_sites(peak)
    for name, trace in traces:
        where = f"{format_bytes(trace.peak)} at {trace.peak_operator}"
        lines.append(f"at the peak of the trace {name!r}, {where}:")
        lines += [_line(variable, size) for variable, size in largest(trace)[:_MOST_SITES]]
    return "\n".join(lines)


def _told_sites(peak: Peak) -> list[str]:
    if not peak.sites:
        return ["what lived then is not known: it was gone before anybody looked"]
    seen = format_bytes(peak.seen_bytes)
    when = f"seen while {seen} were alive" if peak.looked else f"{seen} at the end of the test"
    return [f"what lived, {when}:", *(_line(site, size) for site, size in peak.sites)]


def _line(what: str, size: int) -> str:
    return f"  {format_bytes(size):>10}  {what}"
