"""The blocks of a module that run one after the other, and that can be recomputed."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from torch import nn

from memprop.errors import InvalidValueError, unknown_name
from memprop.terms import PHASES
from memprop.torch.checkpoint.checkpointed import Traits
from memprop.torch.checkpoint.module_calls import Call
from memprop.traces.events import FREE, READ
from memprop.traces.trace import Trace


@dataclass(frozen=True)
class Blocks:
    """Blocks each of which takes what the one before returned.

    Attributes:
        calls: of each block, in order.
        argument: where each takes the result of the one before: a place, or a name.
    """

    calls: tuple[Call, ...]
    argument: int | str

    @property
    def input_bytes(self) -> int:
        """The bytes of the input of the first block."""
        return self.calls[0].sizes[self.argument]

    @property
    def traits(self) -> Traits:
        """The facts that running the blocks together requires."""
        return Traits(
            self.names,
            self.argument,
            alike={call.kind for call in self.calls} == {self.calls[0].kinds[self.argument]},
            kept=tuple(tuple(sorted(call.effects.kept)) for call in self.calls),
            changed=tuple(
                tuple(sorted(call.effects.kept | call.effects.changed)) for call in self.calls
            ),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The paths of the blocks."""
        return tuple(call.name for call in self.calls)


class _Unfit(Exception):  # noqa: N818 - never leaves this file
    """Says why a list of modules is not a chain of blocks."""


def lists_of(module: nn.Module, wanted: str | None) -> dict[str, list[str]]:
    """The lists of modules in ``module`` that may be chains: their paths, and those of their parts.

    Args:
        module: where to look.
        wanted: the path of the one to take; all if ``None``.

    Raises:
        InvalidValueError: there are none, or not the one that is wanted.
    """
    found = {
        path: [f"{path}.{name}".lstrip(".") for name, _ in part.named_children()]
        for path, part in module.named_modules()
        if isinstance(part, nn.ModuleList | nn.Sequential) and len(part) > 1
    }
    if wanted is not None:
        if wanted not in found:
            raise unknown_name("blocks", wanted, found)
        return {wanted: found[wanted]}
    if not found:
        raise InvalidValueError(
            f"{type(module).__name__} has no ModuleList or Sequential of at least two modules: "
            "there are no blocks to recompute"
        )
    return found


def blocks_of(lists: Mapping[str, Sequence[str]], calls: Sequence[Call], trace: Trace) -> Blocks:
    """The list of blocks that saves the most bytes.

    Args:
        lists: the paths of lists of modules, and of their parts.
        calls: of all these parts in one step.
        trace: of that step.

    Raises:
        InvalidValueError: none of them is a chain; the message says why.
    """
    found: dict[str, Blocks] = {}
    reasons = []
    for path, parts in lists.items():
        try:
            found[path] = _chain(parts, calls, trace)
        except _Unfit as reason:
            reasons.append(f"{path or 'the module itself'}: {reason}")
    if not found:
        raise InvalidValueError("no list of modules can be recomputed: " + "; ".join(reasons))
    live = trace.live.total
    return max(found.values(), key=lambda b: live[b.calls[-1].end - 1] - live[b.calls[0].begin - 1])


def units(blocks: Blocks) -> list[list[int]]:
    """The numbers of the blocks in groups: blocks that share a value are in one group.

    A block that writes over its input runs with the one that made it, and with those that handed it
    on: the input could not be kept to run it again.
    """
    found: list[list[int]] = []
    for number, call in enumerate(blocks.calls):
        found.append([number])
        if blocks.argument in call.written:
            written = call.storages[blocks.argument]
            while blocks.calls[found[-1][0]].storages[blocks.argument] == written:
                found[-2:] = [found[-2] + found[-1]]
    return found


def _chain(names: Sequence[str], calls: Sequence[Call], trace: Trace) -> Blocks:
    own = [call for call in calls if call.name in names]
    if [call.name for call in own] != list(names):
        raise _Unfit("its modules are not called once each, in order")
    for call in own:
        if call.variable is None:
            raise _Unfit(f"{call.name} does not return one tensor")
    # Where nothing before it is trained, a block keeps nothing and has no backward.
    own = [call for call in own if call.backward is not None]
    if len(own) < 2:
        raise _Unfit("fewer than two of its modules take part in backward")
    argument = _argument(own)
    _check_writes(own, argument)
    _check_surroundings(own)
    _check_alone(own, trace)
    return Blocks(tuple(own), argument)


def _argument(own: Sequence[Call]) -> int | str:
    """Where each call takes what the one before returned."""
    for before, call in pairwise(own):
        if not any(value is before.result for value in call.given.values()):
            raise _Unfit(f"{call.name} does not take what {before.name} returns")
    first, second = own[:2]
    found = next(key for key, value in second.given.items() if value is first.result)
    for before, call in pairwise(own):
        if call.given.get(found) is not before.result:
            raise _Unfit(f"{call.name} takes its input in another place than {second.name}")
    if found not in first.given:
        raise _Unfit(f"{first.name} is called with other arguments than {second.name}")
    return found


def _check_writes(own: Sequence[Call], argument: int | str) -> None:
    """Raise if a block writes to what another would read in its second run."""
    first = own[0].storages[argument]
    for call in own:
        if argument in call.written and call.storages[argument] == first:
            raise _Unfit(f"{call.name} writes over its input")
        for key in call.written - {argument}:
            raise _Unfit(
                f"{call.name} writes over its argument {key!r}, and would again if it ran again"
            )
        for hindrance in call.effects.hindrances:
            raise _Unfit(f"{call.name} {hindrance}: it would act again if it ran again")


def _check_surroundings(own: Sequence[Call]) -> None:
    """The blocks run together when the last is called: nothing may happen between them."""
    for call in own:
        if call.before.switches != call.after.switches:
            raise _Unfit(f"{call.name} changes gradient mode, autocast or another switch")
        if call.before.switches != own[0].before.switches:
            raise _Unfit(
                f"{call.name} runs under another gradient mode, autocast or switch than "
                f"{own[0].name}"
            )
    for before, call in pairwise(own):
        if before.after.drawn != call.before.drawn:
            raise _Unfit(
                f"random numbers are drawn between {before.name} and {call.name}, and would be "
                "drawn before both: draw them before the first block, or inside one"
            )


def _check_alone(own: Sequence[Call], trace: Trace) -> None:
    """Raise if anything but the next block uses what a block returns."""
    inside: defaultdict[int, set[int]] = defaultdict(set)
    for call, after in pairwise(own):
        assert call.variable is not None  # noqa: S101 - checked before
        inside[call.variable] |= {*range(call.begin, call.end), *range(after.begin, after.end)}
    events = trace.events
    # What checkpoints of the module's own run again in backward is no other use.
    forward = np.logical_and.accumulate(events.phase != PHASES.index("backward"))
    for call in own[:-1]:
        assert call.variable is not None  # noqa: S101
        of_it = events.variable == call.variable
        reads = np.flatnonzero(of_it & forward & (events.kind == READ)).tolist()
        freed = np.flatnonzero(of_it & (events.kind == FREE)).tolist()
        outlives = not freed or trace.phases[events.phase[freed[-1]]] == "end"
        if (outlives and call.variable != own[-1].variable) or set(reads) - inside[call.variable]:
            raise _Unfit(f"what {call.name} returns is used beside the next block as well")
