"""A module whose blocks are checkpointed as a plan says."""

import copy
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from memprop.errors import ScheduleError
from memprop.torch.again import Again
from memprop.torch.segments import Part, blocks

Argument = int | str
"""Where a block takes what the block before it returned: a place, or a name."""


def checkpointed(
    module: nn.Module, names: Sequence[str], argument: Argument, parts: Sequence[Part]
) -> nn.Module:
    """A module like ``module``, with the same parameters and buffers, that recomputes.

    The first block runs them all, in checkpoints; the others hand on what they are given. The
    names of modules and the keys of ``state_dict`` stay as they are.

    Args:
        module: not changed. Everything in it but its tensors is copied.
        names: the paths of the blocks, in order.
        argument: where each takes the result of the one before.
        parts: what to recompute.
    """
    tensors = {id(tensor): tensor for tensor in _tensors(module)}
    twin = copy.deepcopy(module, tensors)
    found = [twin.get_submodule(name) for name in names]
    chain = _Chain(found, names, argument, tuple(parts))
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
        if self._chain.running:
            return self._call(*args, **kwargs)
        if self._place == 0:
            return self._chain.run(args, kwargs)
        return self._chain.hand_on(self._place, args, kwargs)


class _Chain:
    """What the blocks of one module share.

    Attributes:
        running: whether the blocks really run now, and do not hand on what they are given.
    """

    def __init__(
        self,
        modules: Sequence[nn.Module],
        names: Sequence[str],
        argument: Argument,
        parts: tuple[Part, ...],
    ) -> None:
        self.running = False
        self._modules = modules
        self._names = names
        self._argument = argument
        self._parts = parts
        self._result: Callable[[], torch.Tensor | None] = _nothing
        self._called = 0

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or a file gets: no result of a run."""
        return {**vars(self), "running": False, "_result": _nothing}

    def run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
        """Run all blocks."""
        value, call = opened(self._argument, args, kwargs)
        parts = self._parts if torch.is_grad_enabled() else tuple(blocks(self._parts))
        result = self._run(parts, call, value)
        self._called = 1
        self._result = weakref.ref(result)
        return result

    def hand_on(self, place: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
        """What block ``place`` is given, which is the result of all blocks already.

        Raises:
            ScheduleError: it is given something else.
        """
        value, _ = opened(self._argument, args, kwargs)
        if value is not self._result():
            raise ScheduleError(
                f"{self._names[place]} was planned to take what the block before it returns, and "
                "is now given something else: plan again with inputs that lead there"
            )
        self._called += 1
        return value

    def check_all_were_called(self, *_: object) -> None:
        """Raise ScheduleError if the module left out blocks, which have run nevertheless."""
        if 0 < self._called < len(self._names):
            left_out = self._names[self._called]
            self._called = 0
            raise ScheduleError(
                f"{left_out} was planned to run and is now left out: plan again with inputs that "
                "lead there"
            )

    def _run(self, parts: Sequence[Part], call: "_Call", value: torch.Tensor) -> torch.Tensor:
        before, self.running = self.running, True
        try:
            for part in parts:
                value = self._do(part, call, value)
        finally:
            self.running = before
        return value

    def _do(self, part: Part, call: "_Call", value: torch.Tensor) -> torch.Tensor:
        if isinstance(part, int):
            return call(self._modules[part], value)
        inside = list(blocks([part]))
        again = Again([self._modules[place] for place in inside], self._names[inside[0]], value)
        return checkpoint(
            self._run,
            part.parts,
            call,
            value,
            use_reentrant=False,
            context_fn=lambda: (nullcontext(), again),
        )


def _nothing() -> None:
    """No result."""


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
