"""A module whose blocks are checkpointed as a plan says."""

import copy
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from memprop.errors import ScheduleError
from memprop.torch.again import Again
from memprop.torch.later import Kind, later
from memprop.torch.segments import Part, blocks

Argument = int | str
"""Where a block takes what the block before it returned: a place, or a name."""


def checkpointed(
    module: nn.Module,
    names: Sequence[str],
    argument: Argument,
    parts: Sequence[Part],
    *,
    alike: bool,
) -> nn.Module:
    """A module like ``module``, with the same parameters and buffers, that recomputes.

    The call of the last block runs them all, in checkpoints. The names of modules and the keys of
    ``state_dict`` stay as they are.

    Args:
        module: not changed. Everything in it but its tensors is copied.
        names: the paths of the blocks, in order.
        argument: where each takes the result of the one before.
        parts: what to recompute.
        alike: whether all blocks return the kind of tensor that the first is given.
    """
    tensors = {id(tensor): tensor for tensor in _tensors(module)}
    twin = copy.deepcopy(module, tensors)
    found = [twin.get_submodule(name) for name in names]
    chain = _Chain(found, names, argument, tuple(parts), alike=alike)
    for place, block in enumerate(found):
        # In the place of the whole call, hooks included: they run where the block really runs.
        vars(block)["_call_impl"] = _Link(chain, place, block._call_impl)
    twin.register_forward_hook(chain.check_all_were_called)
    return twin


def _tensors(module: nn.Module) -> Iterator[torch.Tensor]:
    """Every tensor that the module holds, parameters, buffers and plain attributes."""
    for part in module.modules():
        for table in (part._parameters, part._buffers, vars(part)):
            yield from (held for held in table.values() if isinstance(held, torch.Tensor))


class _Link:
    """The call of one block: its own, or a part in the run of all."""

    def __init__(self, chain: "_Chain", place: int, call: Callable[..., Any]) -> None:
        self._chain = chain
        self._place = place
        self._call = call

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._chain.state.running:
            return self._call(*args, **kwargs)
        return self._chain.called(self._place, args, kwargs)


class _State(threading.local):
    """What one thread is at.

    Attributes:
        running: whether the blocks really run now, or some of them again.
        value: what the first block was given.
        kind: the kind of that and of all results; ``None`` if these differ.
        calls: how to call each block that was called so far.
        handed_on: what the last of these handed on.
    """

    running = False
    value: torch.Tensor | None = None
    kind: Kind | None = None
    calls: "tuple[_Call, ...]" = ()
    handed_on: torch.Tensor | None = None


class _Chain:
    """What the blocks of one module share.

    The call of a block is noted, and it hands on a :class:`Later` in the place of its result; the
    call of the last one runs them all, each with the other arguments that it was given. So nobody
    can take the result of one block for that of another.
    """

    def __init__(
        self,
        modules: Sequence[nn.Module],
        names: Sequence[str],
        argument: Argument,
        parts: tuple[Part, ...],
        *,
        alike: bool,
    ) -> None:
        self.state = _State()
        self._modules = modules
        self._names = names
        self._argument = argument
        self._parts = parts
        self._alike = alike

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or a file gets: nothing of a run."""
        return {name: value for name, value in vars(self).items() if name != "state"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, state=_State())

    def called(self, place: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
        """Note the call of block ``place``, or run all blocks if it is the last.

        Raises:
            ScheduleError: it is not the next one, or is given something else than was planned.
        """
        state = self.state
        value, call = opened(self._argument, args, kwargs)
        if place == 0:
            state.value, state.calls = value, ()
            state.kind = Kind.of(value) if self._alike else None
        elif place != len(state.calls) or value is not state.handed_on:
            state.calls = ()
            raise ScheduleError(
                f"{self._names[place]} was planned to take what {self._names[place - 1]} returns, "
                "and is now given something else: plan again with inputs that lead there"
            )
        state.calls += (call,)
        if place < len(self._modules) - 1:
            state.handed_on = later(self._names[place], state.kind)
            return state.handed_on
        return self._run_all()

    def check_all_were_called(self, *_: object) -> None:
        """Raise ScheduleError if the module left out blocks."""
        called, self.state.calls = len(self.state.calls), ()
        if called:
            raise ScheduleError(
                f"{self._names[called]} was planned to run and is now left out: plan again with "
                "inputs that lead there"
            )

    def _run_all(self) -> torch.Tensor:
        state = self.state
        value, calls = state.value, state.calls
        state.value, state.calls, state.handed_on = None, (), None
        parts = self._parts if torch.is_grad_enabled() else tuple(blocks(self._parts))
        assert value is not None  # noqa: S101 - the first block was called
        return self._run(parts, calls, value)

    def _run(
        self, parts: Sequence[Part], calls: "Sequence[_Call]", value: torch.Tensor
    ) -> torch.Tensor:
        before, self.state.running = self.state.running, True
        try:
            for part in parts:
                value = self._do(part, calls, value)
        finally:
            self.state.running = before
        return value

    def _do(self, part: Part, calls: "Sequence[_Call]", value: torch.Tensor) -> torch.Tensor:
        if isinstance(part, int):
            return calls[part](self._modules[part], value)
        inside = list(blocks([part]))
        again = Again([self._modules[place] for place in inside], self._names[inside[0]], value)
        return checkpoint(
            self._run,
            part.parts,
            calls,
            value,
            use_reentrant=False,
            context_fn=lambda: (nullcontext(), again),
        )


_Call = Callable[[nn.Module, torch.Tensor], torch.Tensor]


def opened(
    argument: Argument, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[torch.Tensor, _Call]:
    """The value that goes from block to block, and how to call a block with another one."""
    if isinstance(argument, str):
        rest = {name: value for name, value in kwargs.items() if name != argument}
        return kwargs[argument], lambda block, value: block(*args, **{argument: value}, **rest)
    before, after = args[:argument], args[argument + 1 :]
    return args[argument], lambda block, value: block(*before, value, *after, **kwargs)
