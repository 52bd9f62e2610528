"""A module whose blocks are checkpointed as a plan says."""

import copy
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils.checkpoint import checkpoint

from memprop.errors import ScheduleError
from memprop.torch.checkpoint.deferred_tensor import TensorMeta, later
from memprop.torch.checkpoint.recompute_context import RecomputeContext, table_of
from memprop.torch.checkpoint.segments import Part, blocks
from memprop.torch.checkpoint.verified import CHECK, FirstRun, extent
from memprop.torch.state.ambient import drawn, switches
from memprop.torch.state.places import TENSOR, TORCH_GENERATOR
from memprop.torch.state.reach import Reach

Argument = int | str
"""Where a block takes what the block before it returned: a place, or a name."""


@dataclass(frozen=True)
class Traits:
    """What is known of the blocks from the step that was watched.

    Attributes:
        names: their paths, in order.
        argument: where each takes the result of the one before.
        alike: whether all of them return the kind of tensor that the first is given.
        kept: the names of the tensors that each writes to.
        changed: the names of all that holds something else when each has run.
    """

    names: tuple[str, ...]
    argument: Argument
    alike: bool
    kept: tuple[tuple[str, ...], ...]
    changed: tuple[tuple[str, ...], ...]


def checkpointed(module: nn.Module, traits: Traits, parts: Sequence[Part]) -> nn.Module:
    """A module like ``module``, with the same parameters and buffers, that recomputes.

    The call of the last block runs them all, in checkpoints. The names of modules and the keys of
    ``state_dict`` stay as they are.

    Args:
        module: not changed. Everything in it but its tensors is copied.
        traits: of its blocks.
        parts: what to recompute.
    """
    twin = copy.deepcopy(module, _known(module))
    found = [twin.get_submodule(name) for name in traits.names]
    chain = _Chain(found, traits, tuple(parts))
    for place, block in enumerate(found):
        # In the place of the whole call, hooks included: they run where the block really runs.
        vars(block)["_call_impl"] = _Link(chain, place, block._call_impl)
    twin.register_forward_hook(chain.check_all_were_called)
    twin.register_forward_hook(chain.forget, always_call=True)  # whatever went wrong
    return twin


def held_tensors(module: nn.Module) -> Iterator[torch.Tensor]:
    """Every tensor that the module holds, parameters, buffers and plain attributes."""
    for part in module.modules():
        for table in (part._parameters, part._buffers, vars(part)):
            yield from (held for held in table.values() if isinstance(held, torch.Tensor))


def _known(module: nn.Module) -> dict[int, Any]:
    """What a copy of the module has instead of the object with this identity: the same tensors."""
    known: dict[int, Any] = {id(tensor): tensor for tensor in held_tensors(module)}
    for found in Reach()([("", module)]):
        if found.kind is TENSOR:
            known[id(found.thing)] = found.thing
        elif found.kind is TORCH_GENERATOR:
            known[id(found.thing)] = _copied(found.thing)
    return known


def _copied(generator: torch.Generator) -> torch.Generator:
    with torch._C._DisableTorchDispatch():  # a mode with fake tensors cannot copy it
        return copy.deepcopy(generator)


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
    """How far one thread has come.

    Attributes:
        running: whether the blocks really run now, or some of them again.
        block: the path of the one that runs.
        value: what the first block was given.
        kind: the kind of that and of all results; ``None`` if these differ.
        calls: how to call each block that was called so far.
        handed_on: what the last of these handed on.
        covered: what the attributes really hold that a stand-in covers until the blocks run.
        switches: of PyTorch, when the first block was called.
        drawn: what tells whether random numbers have been drawn since.
    """

    running = False
    block = ""
    value: torch.Tensor | None = None
    kind: TensorMeta | None = None
    calls: "tuple[_Call, ...]" = ()
    handed_on: torch.Tensor | None = None
    covered: "tuple[tuple[dict[str, Any], str, Any], ...]" = ()
    switches: tuple[object, ...] = ()
    drawn: tuple[object, ...] = ()

    def uncover(self) -> None:
        """Remove the stand-ins."""
        for table, name, held in reversed(self.covered):
            if held is _MISSING:
                table.pop(name, None)
            else:
                table[name] = held
        self.covered = ()


_MISSING = object()


class _Chain:
    """What the blocks of one module share.

    The call of a block is noted, and it hands on a :class:`DeferredTensor` in place of its result;
    the call of the last one runs them all, each with the other arguments that it was given. So
    nobody can take the result of one block for that of another. What a block will leave in its
    attributes has stand-ins as well until it has run.
    """

    def __init__(
        self, modules: Sequence[nn.Module], traits: Traits, parts: tuple[Part, ...]
    ) -> None:
        self.state = _State()
        self._modules = modules
        self._traits = traits
        self._names = traits.names
        self._parts = parts
        self._reach = Reach()
        self._steps = 0

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or a file gets; the state of a run is left out."""
        return {**vars(self), "state": None, "_steps": 0}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, state=_State())

    def called(self, place: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
        """Note the call of block ``place``, or run all blocks if it is the last.

        Raises:
            ScheduleError: it is not the next one, or is given something else than was planned.
        """
        state = self.state
        value, call = opened(self._traits.argument, args, kwargs)
        if place == 0:
            self._begin(value)
        elif place != len(state.calls) or value is not state.handed_on:
            self.forget()
            raise ScheduleError(
                f"{self._names[place]} was planned to take what {self._names[place - 1]} returns, "
                "and is now given something else: plan again with inputs that lead there"
            )
        self._check_surroundings(place)
        state.calls += (call,)
        if place < len(self._modules) - 1:
            self._cover(place)
            state.handed_on = later(self._names[place], state.kind)
            return state.handed_on
        return self._run_all()

    def check_all_were_called(self, *_: object) -> None:
        """Raise ScheduleError if the module left out blocks."""
        called = len(self.state.calls)
        self.forget()
        if called:
            raise ScheduleError(
                f"{self._names[called]} was planned to run and is now left out: plan again with "
                "inputs that lead there"
            )

    def _begin(self, value: torch.Tensor) -> None:
        self.forget()
        state = self.state
        state.value = value
        state.kind = TensorMeta.of(value) if self._traits.alike else None
        state.switches, state.drawn = switches(), drawn()

    def forget(self, *_: object) -> None:
        """Forget the noted calls, and remove the stand-ins."""
        state = self.state
        state.uncover()
        state.value, state.calls, state.handed_on = None, (), None

    def _check_surroundings(self, place: int) -> None:
        """What runs when the last block is called must run as it would have at its own call."""
        state = self.state
        if switches() != state.switches:
            self.forget()
            raise ScheduleError(
                f"{self._names[place]} is called under another gradient mode, autocast or switch "
                f"than {self._names[0]}, but they run together: call all blocks under the same"
            )
        if place == len(self._modules) - 1 and drawn() != state.drawn:
            self.forget()
            raise ScheduleError(
                f"random numbers were drawn between {self._names[0]} and {self._names[place]}, "
                "before the blocks draw theirs: draw them before the first block or inside one"
            )

    def _cover(self, place: int) -> None:
        """Let stand-ins cover what block ``place`` will leave in its attributes."""
        for dotted in self._traits.changed[place]:
            table, name = table_of(self._modules[place], dotted)
            self.state.covered += ((table, name, table.get(name, _MISSING)),)
            table[name] = later(self._names[place], attribute=f"{self._names[place]}.{dotted}")

    def _run_all(self) -> torch.Tensor:
        state = self.state
        value, calls = state.value, state.calls
        self.forget()
        assert value is not None  # noqa: S101 - the first block was called
        if not torch.is_grad_enabled():
            return self._run(tuple(blocks(self._parts)), calls, value, "")
        compared = extent(self._steps, value.device)
        self._steps += not isinstance(value, FakeTensor)
        return self._run(self._parts, calls, value, compared)

    def _run(
        self, parts: Sequence[Part], calls: "Sequence[_Call]", value: torch.Tensor, compared: str
    ) -> torch.Tensor:
        state = self.state
        before, state.running = (state.running, state.block), True
        try:
            for part in parts:
                value = self._do(part, calls, value, compared)
        finally:
            state.running, state.block = before
        return value

    def _do(
        self, part: Part, calls: "Sequence[_Call]", value: torch.Tensor, compared: str
    ) -> torch.Tensor:
        if isinstance(part, int):
            self.state.block = self._names[part]
            return calls[part](self._modules[part], value)
        again = self._again(list(blocks([part])), calls, value)
        first = FirstRun(lambda: self.state.block, compared, vectors=not again.updates_statistics)
        return checkpoint(
            self._run,
            part.parts,
            calls,
            value,
            compared,
            use_reentrant=False,
            context_fn=lambda: (first, again),
            determinism_check=CHECK,
        )

    def _again(
        self, inside: Sequence[int], calls: "Sequence[_Call]", value: torch.Tensor
    ) -> RecomputeContext:
        return RecomputeContext(
            {self._names[place]: self._modules[place] for place in inside},
            value,
            [
                (f"argument {key!r} of {self._names[place]}", argument)
                for place in inside
                for key, argument in calls[place].others
            ],
            {self._names[place]: self._traits.kept[place] for place in inside},
            self._reach,
        )


@dataclass(frozen=True)
class _Call:
    """How to call a block with another value in place of a stand-in.

    Attributes:
        argument: where the value goes.
        before: what comes before it, or all by place if it goes by name.
        after: what comes after it.
        rest: what goes by name.
    """

    argument: Argument
    before: tuple[Any, ...]
    after: tuple[Any, ...]
    rest: dict[str, Any]

    def __call__(self, block: nn.Module, value: torch.Tensor) -> torch.Tensor:
        if isinstance(self.argument, str):
            return block(*self.before, **{self.argument: value}, **self.rest)
        return block(*self.before, value, *self.after, **self.rest)

    @property
    def others(self) -> Iterator[tuple[Argument, Any]]:
        """The arguments other than the value."""
        yield from enumerate(self.before)
        yield from enumerate(self.after, start=len(self.before) + 1)
        yield from self.rest.items()


def opened(
    argument: Argument, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[torch.Tensor, _Call]:
    """The value that goes from block to block, and how to call a block with another one."""
    if isinstance(argument, str):
        rest = {name: value for name, value in kwargs.items() if name != argument}
        return kwargs[argument], _Call(argument, args, (), rest)
    return args[argument], _Call(argument, args[:argument], args[argument + 1 :], kwargs)
