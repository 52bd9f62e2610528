"""One way through an observed step: which calls run again, and when, and what is there then."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from memprop.torch.checkpoint.host import Loaded
from memprop.torch.checkpoint.values import Path

if TYPE_CHECKING:
    from memprop.torch.checkpoint.rehearsal import Rehearsal

Choice: TypeAlias = Mapping[int, Path]
"""The calls that run again, by number, with the groups that each belongs to, and those whose
results are brought back from the host."""

_LASTING: Final = 2**62
"""Later than any event."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """Calls that run again together, before an event."""

    event: int
    peak: int
    held: int


class RunThrough:
    """A step as one choice has it. Plans are made of thousands of these, so they are to be quick.

    Args:
        step: the step.
        choice: what runs again.

    Attributes:
        runs: how often each call ran again.
        loaded: bytes that were brought back from the host.
    """

    def __init__(self, step: "Rehearsal", choice: Choice) -> None:
        self.runs: Counter[int] = Counter()
        self.loaded = 0
        self._step, self._choice = step, choice
        self._sizes, self._maker, self._calls = step.sizes, step.maker, step.seen.calls
        self._from_host = {call for call, path in choice.items() if isinstance(path, Loaded)}
        self._moved: dict[int, int] = {}
        """By how much an event changes what is live, in addition to what it does anyway."""
        self._batches: list[_Batch] = []
        self._waiting = step.waiting.copy()
        self._there: dict[int, int] = {}
        """The values that were computed again and are held, each with the event that ends that."""
        for event, _, number, released in step.requests:
            if self._maker[number] in choice:
                self._ask(event, number, released)

    def add(self, size: int, begin: int, end: int) -> None:
        """Let some bytes be live from one event up to another."""
        if begin < end:
            self._moved[begin] = self._moved.get(begin, 0) + size
            self._moved[end] = self._moved.get(end, 0) - size

    def moved(self) -> np.ndarray:
        """How many bytes are live at each event in addition to those that are so anyway."""
        changes = np.zeros(self._step.events + 1, dtype=np.int64)
        changes[list(self._moved)] = list(self._moved.values())
        return np.cumsum(changes[:-1])

    def peaks(self, live: np.ndarray) -> Iterator[tuple[int, int]]:
        """For events, what is live at most while calls run again before them."""
        held, event = 0, -1
        for batch in self._batches:
            held = held if batch.event == event else 0
            event = batch.event
            yield event, (int(live[event - 1]) if event > 0 else 0) + held + batch.peak
            held += batch.held

    def kept_until(self) -> dict[int, int]:
        """The values that are kept, each with the event at which nobody holds it any more."""
        choice, maker, released = self._choice, self._maker, self._step.released
        ends: dict[int, int] = {}
        until = {
            number: released[number] for number in self._step.saved if maker[number] not in choice
        }
        for number in sorted(choice, reverse=True):
            call = self._calls[number]
            end = max((ends.get(value, released[value]) for value in call.made), default=-1)
            if end < 0 or number in self._from_host:
                continue
            for value in call.operands:
                if maker[value] in choice:
                    ends[value] = max(ends.get(value, released[value]), end)
                elif maker[value] >= 0:
                    until[value] = max(until.get(value, -1), end)
        return until

    def _ask(self, event: int, number: int, released: int) -> None:
        """A node asks for a value."""
        if self._there.get(number, -1) <= event:
            self._compute(event, number)
        self._waiting[number] -= 1
        if self._waiting[number] == 0:
            self._there[number] = released

    def _compute(self, event: int, target: int) -> None:
        """Compute a value, and hold what else comes out on the way and is waited for."""
        needs = self._needs(event, target)
        path = self._choice[self._maker[target]]
        sizes, there = self._sizes, self._there
        wanted = {target: 1}
        for operands in needs.values():
            for value in operands:
                wanted[value] = wanted.get(value, 0) + 1
        fresh: dict[int, int] = {}
        now = most = held = 0
        for number in sorted(needs):
            self.runs[number] += 1
            over = self._calls[number].changed
            made = self._made(number, wanted)
            taken = fresh.pop(over, 0) if over >= 0 and there.get(over, -1) <= event else 0
            size = sum([sizes[value] for value in made]) - taken
            most = max(most, now + size + self._workspace(number))
            now += size
            for value in made:
                if self._is_held(value, path):
                    held += self._hold(event, value, target)
                if wanted.get(value) or there.get(value, -1) > event:
                    fresh[value] = sizes[value]
                else:
                    now -= sizes[value]
            for value in needs[number]:
                wanted[value] -= 1
                if not wanted[value] and there.get(value, -1) <= event:
                    now -= fresh.pop(value, 0)
        self._batches.append(_Batch(event, most, held))

    def _needs(self, event: int, target: int) -> dict[int, list[int]]:
        """The calls that make a value out of what is there, with what must be made before each."""
        maker, choice, there = self._maker, self._choice, self._there
        found: dict[int, list[int]] = {}
        todo = [target]
        while todo:
            number = maker[todo.pop()]
            if number in found:
                continue
            inputs = () if number in self._from_host else self._calls[number].inputs
            found[number] = [
                value
                for value in inputs
                if maker[value] in choice and there.get(value, -1) <= event
            ]
            todo += found[number]
        return found

    def _made(self, number: int, wanted: Mapping[int, int]) -> Sequence[int]:
        """The values that there are after a call has run again; of loaded ones those wanted."""
        made = self._calls[number].made
        if number not in self._from_host:
            return made
        found = [value for value in made if wanted.get(value)]
        self.loaded += sum(self._sizes[value] for value in found)
        return found

    def _workspace(self, number: int) -> int:
        return 0 if number in self._from_host else self._step.workspace[number]

    def _is_held(self, value: int, path: Path) -> bool:
        if self._waiting.get(value, 0) <= 0:
            return False
        own = self._choice[self._maker[value]]
        return path[: len(own)] == own

    def _hold(self, event: int, value: int, target: int) -> int:
        """Hold a value until the nodes that wait for it have got it; what is live more for it."""
        self._there[value] = _LASTING
        asked = self._step.asked[value]
        if value == target or asked <= event:
            return 0  # from when it is asked for on it is live in any case
        self.add(self._sizes[value], event, asked)
        return self._sizes[value]
