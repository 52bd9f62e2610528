"""The tables of level one: what tracemalloc saw at the boundaries of phases."""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from memprop.errors import PhaseError
from memprop.profiler.phases import Boundary, PhaseLog, Visit
from memprop.profiler.tracing import Block, total_bytes

if TYPE_CHECKING:
    import pandas as pd

PHASE_COLUMNS: Final = (
    *("path", "entered", "seconds", "entry_bytes", "exit_bytes", "allocated_bytes"),
    *("other_thread_bytes", "traced_peak_bytes", "object_bytes", "watched_bytes", "unseen_bytes"),
)


def phases(log: PhaseLog) -> "pd.DataFrame":
    """A row for each path of phases, in the order in which they were first entered."""
    import pandas as pd

    by_path: dict[tuple[str, ...], list[Visit]] = {}
    for visit in log.visits:
        by_path.setdefault(visit.path, []).append(visit)
    rows = [_phase_row(log, path, visits) for path, visits in by_path.items()]
    return pd.DataFrame(rows, columns=pd.Index(PHASE_COLUMNS))


def _phase_row(log: PhaseLog, path: tuple[str, ...], visits: list[Visit]) -> dict[str, Any]:
    spans = [log.boundaries[visit.entry : _end(log, visit) + 1] for visit in visits]
    first, last = spans[0][0], spans[-1][-1]
    grown = [_grown(span[0], span[-1]) for span in spans]
    return {
        "path": "/".join(path),
        "entered": len(visits),
        "seconds": sum(span[-1].nanoseconds - span[0].nanoseconds for span in spans) * 1e-9,
        "entry_bytes": first.sample.numpy_bytes,
        "exit_bytes": last.sample.numpy_bytes,
        "allocated_bytes": sum(total_bytes(_of_phase(blocks)) for blocks in grown),
        "other_thread_bytes": sum(total_bytes(blocks - _of_phase(blocks)) for blocks in grown),
        "traced_peak_bytes": max(stop.sample.peak_bytes for span in spans for stop in span[1:]),
        "object_bytes": last.sample.traced_bytes - last.sample.numpy_bytes,
        "watched_bytes": last.watched_bytes,
        "unseen_bytes": last.unseen_bytes,
    }


def _end(log: PhaseLog, visit: Visit) -> int:
    return len(log.boundaries) - 1 if visit.exit is None else visit.exit


def sites(log: PhaseLog) -> "pd.DataFrame":
    """A row for each allocation site of each stretch of a phase, the largest first."""
    import pandas as pd

    found: Counter[tuple[str, str, bool]] = Counter()
    counts: Counter[tuple[str, str, bool]] = Counter()
    for before, after in pairwise(log.boundaries):
        for block, count in _grown(before, after).items():
            key = ("/".join(after.path), block.site, block.other_thread)
            found[key] += block.bytes * count
            counts[key] += count
    rows = [(*key, size, counts[key]) for key, size in _largest_first(found)]
    return pd.DataFrame(rows, columns=pd.Index(["phase", "site", "other_thread", "bytes", "count"]))


def cached(log: PhaseLog) -> "pd.DataFrame":
    """A row for each site of what forward allocated and backward finds alive, the largest first.

    Raises:
        PhaseError: there was no forward, or no backward after it.
    """
    import pandas as pd

    forward, start = _first_step(log)
    made: Counter[Block] = Counter()
    for visit in forward:
        made += _grown(log.boundaries[visit.entry], log.boundaries[_end(log, visit)])
    alive = _grown(log.boundaries[forward[0].entry], log.boundaries[start])
    found: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for block, count in _of_phase(made & alive).items():
        found[block.site] += block.bytes * count
        counts[block.site] += count
    rows = [(site, size, counts[site]) for site, size in _largest_first(found)]
    return pd.DataFrame(rows, columns=pd.Index(["site", "bytes", "count"]))


def _largest_first(found: Counter[Any]) -> list[tuple[Any, int]]:
    """Sites with their bytes; of sites with as many bytes, by name: tracemalloc has no order."""
    return sorted(found.items(), key=lambda item: (-item[1], item[0]))


def _first_step(log: PhaseLog) -> tuple[list[Visit], int]:
    """The visits of forward and loss before the first backward, and where that begins."""
    forward: list[Visit] = []
    for visit in _outermost(log.visits):
        if visit.path[-1] == "backward" and forward:
            return forward, visit.entry
        if visit.path[-1] in ("forward", "loss"):
            forward.append(visit)
    entered = ", ".join(dict.fromkeys("/".join(visit.path) for visit in log.visits)) or "none"
    raise PhaseError(
        "cached() needs a phase 'forward' and, after it, a phase 'backward'; "
        f"the phases entered were: {entered}"
    )


def _outermost(visits: Iterable[Visit]) -> Iterator[Visit]:
    """The visits that lie in no other one of forward, loss or backward."""
    step = {"forward", "loss", "backward"}
    return (visit for visit in visits if step.isdisjoint(visit.path[:-1]))


def _grown(before: Boundary, after: Boundary) -> Counter[Block]:
    """The buffers by which what lives has grown: those allocated in between and not freed.

    Where as many of one size and site have died as were born, nothing shows.
    """
    return after.sample.blocks - before.sample.blocks


def _of_phase(blocks: Counter[Block]) -> Counter[Block]:
    return Counter({block: n for block, n in blocks.items() if not block.other_thread})
