"""What a choice of recomputation comes to, worked out from one observed step.

The rules are those of :mod:`memprop.torch.checkpoint.values`; nothing runs.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from memprop.torch.checkpoint.host import Loaded
from memprop.torch.checkpoint.observed import Seen, SeenCall
from memprop.torch.checkpoint.run_through import Choice, RunThrough
from memprop.torch.checkpoint.values import Path
from memprop.traces.events import FREE
from memprop.traces.trace import Trace


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a choice comes to.

    Attributes:
        peak: live bytes of the whole step.
        cost: of all that runs again, and of all copies to the host and back.
        saved_bytes: what is kept of the forward pass for the backward pass.
        runs: how often each call runs again, or its results are brought back.
        kept: the values that are kept.
        live: bytes after each event.
        most: bytes that are live at most at each event, or while calls run again before it.
        offloaded_bytes: what waits on the host.
    """

    peak: int
    cost: float
    saved_bytes: int
    runs: Mapping[int, int]
    kept: frozenset[int]
    live: np.ndarray
    most: np.ndarray
    offloaded_bytes: int = 0


class Rehearsal:
    """An observed step, to be gone through with one choice after the other.

    Args:
        seen: the step.
        trace: of the step.
        costs: of each call; FLOPs if not given.
        copying: what it costs to copy a byte to the host, or back.
    """

    def __init__(
        self,
        seen: Seen,
        trace: Trace,
        costs: Sequence[float] | None = None,
        copying: float = math.inf,
    ) -> None:
        self.seen = seen
        self.copying = copying
        self.costs = [call.flops for call in seen.calls] if costs is None else costs
        self.live = np.asarray(trace.live.total, dtype=np.int64)
        self.events = len(self.live)
        self.died = self._deaths(trace)
        self.workspace = [self._workspace(call) for call in seen.calls]
        self.unit_of = _units(seen)
        self.can_run_again = self._repeatable()
        self._bound = self._bound_to()
        self.asked = [
            min((save.asked for save in value.saves if save.asked >= 0), default=self.events)
            for value in seen.values
        ]
        self.released = [
            max((self._end(save.released) for save in value.saves), default=-1)
            for value in seen.values
        ]
        self.requests = sorted(
            (save.asked, save.order, value.number, self._end(save.released))
            for value in seen.values
            for save in value.saves
            if save.asked >= 0
        )
        self.sizes = [value.bytes for value in seen.values]
        self.maker = [value.call for value in seen.values]
        self.waiting = dict(Counter(number for _, _, number, _ in self.requests))
        self.saved = [v.number for v in seen.values if v.call >= 0 and v.saves]

    @cached_property
    def plain_peak(self) -> int:
        """Live bytes of the step that keeps everything."""
        return self.of({}).peak

    def everything(self) -> dict[int, Path]:
        """The choice of all calls that can run again."""
        return {call.number: () for call in self.seen.calls if self.can_run_again[call.number]}

    def units(self, calls: Iterable[int]) -> list[tuple[int, ...]]:
        """The units that calls of the first forward pass belong to, each once, in their order."""
        first = (call for call in calls if self.seen.calls[call].forward == 0)
        return list(dict.fromkeys(self.unit_of[call] for call in first))

    def possible(self, choice: Choice) -> dict[int, Path]:
        """A choice without calls that cannot run again if the others of it do.

        One that reads what was written over later can only if that is made again.
        """
        found = {
            call: path
            for call, path in choice.items()
            if self.can_run_again[call] or isinstance(path, Loaded)
        }
        left = [c for c in self._bound if c in found and not isinstance(found[c], Loaded)]
        while left:
            without = [call for call in left if any(one not in found for one in self._bound[call])]
            if not without:
                break
            for unit in {self.unit_of[call] for call in without}:
                for call in unit:
                    found.pop(call, None)
            left = [call for call in left if call in found]
        return found

    def _bound_to(self) -> dict[int, list[int]]:
        """For calls that read what was written over later, those that made it."""
        values = self.seen.values
        makers = {
            call.number: [values[v].call for v in call.inputs if values[v].overwritten]
            for call in self.seen.calls
        }
        own = (
            (call, [m for m in made if m not in self.unit_of[call]])
            for call, made in makers.items()
        )
        return {call: made for call, made in own if made}

    def in_all_passes(self, choice: Choice) -> dict[int, Path]:
        """A choice for one forward pass of several that are alike as one for all of them."""
        if self.seen.forwards < 2:
            return dict(choice)
        paths = {self._key(number): path for number, path in choice.items()}
        keys = ((call.number, self._key(call.number)) for call in self.seen.calls)
        return {number: paths[key] for number, key in keys if key in paths}

    def _key(self, number: int) -> tuple[object, int]:
        call = self.seen.calls[number]
        return call.func, call.place

    def _end(self, event: int) -> int:
        return self.events if event < 0 else event

    def _deaths(self, trace: Trace) -> list[int]:
        """For each value the event at which its storage is released by all but autograd."""
        freed: dict[int, int] = {}
        kinds = trace.events.kind
        storages = trace.events.storage
        for event in np.flatnonzero(kinds == FREE):
            freed[int(storages[event])] = int(event)
        return [freed.get(value.storage, self.events) for value in self.seen.values]

    def _workspace(self, call: SeenCall) -> int:
        """Bytes that a call needs while it runs, beyond what it makes."""
        if call.end <= call.begin:
            return 0
        during = self.live[call.begin : call.end]
        before = int(self.live[call.begin - 1]) if call.begin else 0
        return max(int(during.max()) - before - self.new_bytes(call), 0)

    def new_bytes(self, call: SeenCall) -> int:
        """Bytes of the storages that a call makes."""
        if call.changed >= 0:
            return 0
        return sum(self.seen.values[value].bytes for value in call.made)

    def _repeatable(self) -> list[bool]:
        """Whether each call can run again, in view of what becomes of its operands."""
        values, can = self.seen.values, [False] * len(self.seen.calls)

        def is_there(number: int) -> bool:
            value = values[number]
            return not value.overwritten or (value.call >= 0 and can[value.call])

        for call in self.seen.calls:
            can[call.number] = not call.hindrance and all(map(is_there, call.inputs))
            if call.changed >= 0 and can[call.number]:
                maker = values[call.changed].call
                can[call.number] = maker >= 0 and can[maker]
        return [all(can[one] for one in self.unit_of[number]) for number in range(len(can))]

    def of(self, choice: Choice) -> Outcome:
        """The peak and the cost of a step that computes these calls again.

        Args:
            choice: calls that can run again.
        """
        run = RunThrough(self, choice)
        kept = run.kept_until()
        homes = self._keep(run, kept)
        live = self.live + run.moved()
        most = live.copy()
        for event, peak in run.peaks(live):
            most[event] = max(most[event], peak)
        again = (one for one in run.runs.items() if not isinstance(choice[one[0]], Loaded))
        cost = sum(self.costs[call] * times for call, times in again)
        offloaded = self._offloaded_bytes(choice)
        if offloaded:
            cost += self.copying * (offloaded + run.loaded)
        saved = sum(self.sizes[value] for value in homes)
        return Outcome(
            peak=int(most.max(initial=0)),
            cost=cost,
            saved_bytes=saved,
            runs=run.runs,
            kept=frozenset(kept),
            live=live,
            most=most,
            offloaded_bytes=offloaded,
        )

    def _offloaded_bytes(self, choice: Choice) -> int:
        """What nodes save of the results that wait on the host."""
        values = self.seen.values
        brought = (call for call, path in choice.items() if isinstance(path, Loaded))
        made = (values[number] for call in brought for number in self.seen.calls[call].made)
        return sum(value.bytes for value in made if value.saves)

    def _keep(self, run: RunThrough, kept: Mapping[int, int]) -> list[int]:
        """Add values that are kept to what is live anyway, and say which of them share no storage.

        Parts of a storage may be written over one after the other, as the gates of a GRU: so it
        holds several values, and lives as long as the last of them.
        """
        homes: dict[object, int] = {}
        ends: dict[object, int] = {}
        for number, until in kept.items():
            value = self.seen.values[number]
            home = value.storage if value.storage >= 0 else (number,)
            homes.setdefault(home, number)
            ends[home] = max(until, ends.get(home, until))
            run.add(-value.bytes, self.asked[number], self.released[number])  # no other one
        for home, number in homes.items():
            run.add(self.sizes[number], self.died[number], ends[home])
        return list(homes.values())


def _units(seen: Seen) -> list[tuple[int, ...]]:
    """For each call the calls that run again together: those that write over one another's."""
    unit: list[list[int]] = [[call.number] for call in seen.calls]
    for call in seen.calls:
        maker = seen.values[call.changed].call if call.changed >= 0 else -1
        if maker >= 0:
            unit[maker].append(call.number)
            unit[call.number] = unit[maker]
    return [tuple(numbers) for numbers in unit]
