"""A step seen as operators and values: what could be computed again, who reads it, when it dies.

What nodes save is not held in an observed step. A value dies with the last reference of the
program's own, and a node that asks for it gets another storage of the same size. So the live bytes
of the step are those of everything else, and what is kept or computed again comes on top.
"""

import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode

from memprop.torch.checkpoint.repeatable import (
    draws,
    generators,
    hindrance,
    is_plain,
    results,
    statistics,
)
from memprop.torch.checkpoint.tape import EMPTY_LIKE
from memprop.torch.checkpoint.values import Awaited, View
from memprop.torch.fake.cuda.devices import host_of
from memprop.torch.record.again import last_noted
from memprop.torch.record.flops import flops_of
from memprop.torch.record.ledger import Ledger
from memprop.torch.record.ours import asked_device, fake_mode
from memprop.torch.record.parts import any_wraps
from memprop.torch.record.schema import operands, written
from memprop.torch.recorded import recorded
from memprop.torch.task import Task, new_gradients_dropped
from memprop.traces.trace import Trace


@dataclass(kw_only=True)
class SeenValue:
    """What a storage held from one write to the next.

    Attributes:
        number: of the value.
        bytes: of its storage.
        call: the number of the call that made it; -1 if it was there before the forward pass.
        storage: the number of its storage in the trace.
        overwritten: whether something else was written over it later.
        saves: each node that saved it.
    """

    number: int
    bytes: int
    call: int
    storage: int
    overwritten: bool = False
    saves: list["Save"] = field(default_factory=list)


@dataclass(kw_only=True)
class Save:
    """What a node saved; times are numbers of events, -1 for never.

    Attributes:
        call: the number of the call whose node it is.
        asked: when the node asked for it.
        order: how many saves had been asked for before.
        released: when the node had let go of it.
    """

    call: int
    asked: int = -1
    order: int = -1
    released: int = -1


@dataclass(kw_only=True)
class SeenCall:
    """One call of an operator in a forward pass.

    Attributes:
        number: of the call.
        func: the operator.
        place: how many calls of the operator there were before in this forward pass.
        forward: the number of the forward pass.
        inputs: the values among its operands.
        made: the values that it made.
        changed: the value that it wrote over; -1 for none.
        hindrance: why it cannot run again; "" if it can.
        flops: of one run.
        begin: the event at which it began.
        end: and the one after its last.
        operator: its number in the trace; -1 if it is not there.
    """

    number: int
    func: Any
    place: int
    forward: int
    inputs: tuple[int, ...]
    made: tuple[int, ...] = ()
    changed: int = -1
    hindrance: str = ""
    flops: int = 0
    begin: int = -1
    end: int = -1
    operator: int = -1

    @property
    def operands(self) -> tuple[int, ...]:
        """The values that it reads or writes over."""
        return (*self.inputs, *((self.changed,) if self.changed >= 0 else ()))


@dataclass
class Seen:
    """The forward passes of one step.

    Attributes:
        calls: in order.
        values: in the order in which they were made.
        saves: every save, of what was there before the forward pass too, in order.
        forwards: how many passes there were.
        asked: how many saves nodes have asked for.
        observers: of the passes.
        made_up: FLOPs that the trace has for making what nodes asked for, one for each element.
    """

    calls: list[SeenCall] = field(default_factory=list)
    values: list[SeenValue] = field(default_factory=list)
    saves: list[Save] = field(default_factory=list)
    forwards: int = 0
    asked: int = 0
    made_up: int = 0
    observers: list["Observer"] = field(default_factory=list)


class Observer(TorchDispatchMode):
    """Watches one forward pass, and the backward pass through its nodes.

    Args:
        seen: where it is written down.
        ledger: of the step.
    """

    def __init__(self, seen: Seen, ledger: Ledger) -> None:
        super().__init__()
        self._seen = seen
        self._ledger = ledger
        self._forward = seen.forwards
        seen.forwards += 1
        seen.observers.append(self)
        self._counts: Counter[Any] = Counter()
        self._values: dict[int, tuple[weakref.ref[Any], SeenValue]] = {}
        self._awaited: dict[int, Awaited] = {}
        self._likes: dict[Any, torch.Tensor] = {}
        self._fakes = fake_mode()
        self._pauses = False

    @contextmanager
    def on(self) -> Iterator[None]:
        """Watch the forward pass that runs inside the block."""
        with saved_tensors_hooks(self._pack, _unpacked), self:
            yield

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if (device := asked_device(func, args)) is not None:
            return device
        kwargs = kwargs or {}
        if any_wraps(types):
            return NotImplemented
        if self._pauses or fake_mode() is not self._fakes:
            return func(*args, **kwargs)
        scratch = statistics(func, args, kwargs)
        inputs = [
            self._value(tensor)
            for tensor in operands(args, kwargs)
            if func is not EMPTY_LIKE and not any(tensor is one for one in scratch)
        ]
        call = SeenCall(
            number=len(self._seen.calls),
            func=func,
            place=self._counts[func],
            forward=self._forward,
            inputs=tuple(dict.fromkeys(value.number for value in inputs if value is not None)),
            begin=len(self._ledger),
        )
        self._counts[func] += 1
        before = last_noted()
        result = func(*args, **kwargs)
        if len(self._ledger) == call.begin and not func._schema.is_mutable:
            return result  # a view, or a question
        self._note(call, result, args, kwargs, scratch)
        if (ran := last_noted()) is not None and ran != before:
            call.operator = ran.operator
        return result

    def _note(
        self,
        call: SeenCall,
        result: Any,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        scratch: Sequence[torch.Tensor],
    ) -> None:
        func = call.func
        call.end = len(self._ledger)
        call.flops = flops_of(func, args, kwargs, result)
        call.hindrance = hindrance(func, args, kwargs, result)
        if not call.hindrance and draws(func) and not generators(args, kwargs):
            call.hindrance = f"{func.name()} draws random numbers that nobody can draw again"
        self._seen.calls.append(call)
        known = {t.untyped_storage()._cdata for t in operands(args, kwargs) if is_plain(t)}
        changed = [
            tensor
            for tensor in written(func, args, kwargs)
            if is_plain(tensor) and not any(tensor is one for one in scratch)
        ]
        for tensor in changed:
            value = self._value(tensor)
            assert value is not None  # noqa: S101 - it is plain
            value.overwritten = True
            call.changed = value.number
            if self._seen.values[value.number].call < 0:
                call.hindrance = f"{func.name()} writes to a tensor that was there before"
            known.discard(tensor.untyped_storage()._cdata)
        if len(changed) > 1:
            call.hindrance = f"{func.name()} writes to several tensors"
        made = [tensor for tensor in results(result) if is_plain(tensor)]
        for tensor in (*changed, *made):
            home = tensor.untyped_storage()
            if home._cdata not in known:
                known.add(home._cdata)
                call.made += (self._add(tensor, call.number).number,)

    def _value(self, tensor: torch.Tensor) -> SeenValue | None:
        """The value that a tensor is a view of."""
        if not is_plain(tensor):
            return None
        home = tensor.untyped_storage()
        alive, value = self._values.get(home._cdata, (None, None))
        if alive is not None and alive() is home:
            return value
        return self._add(tensor, -1)

    def _add(self, tensor: torch.Tensor, call: int) -> SeenValue:
        home = tensor.untyped_storage()
        storage = self._ledger.storages.get(tensor)
        value = SeenValue(
            number=len(self._seen.values),
            bytes=home.nbytes(),
            call=call,
            storage=-1 if storage is None else storage.number,
        )
        self._seen.values.append(value)
        self._values[home._cdata] = (weakref.ref(home), value)
        return value

    def _pack(self, tensor: torch.Tensor) -> "_Saved":
        save = Save(call=len(self._seen.calls))
        self._seen.saves.append(save)
        value = self._value(tensor)
        if value is None or value.call < 0:
            return _Saved(self, save, tensor)
        value.saves.append(save)
        awaited = self._awaited.setdefault(value.number, Awaited())
        size = tensor.untyped_storage().nbytes()
        return _Saved(self, save, self._like(tensor), awaited, View.of(tensor), size)

    def _like(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor of no bytes, of this type and at this place."""
        key = (tensor.dtype, tensor.device, host_of(tensor))
        if key not in self._likes:
            self._pauses = True
            self._likes[key] = tensor.new_empty(0)
            self._pauses = False
        return self._likes[key]

    def unpacked(self, saved: "_Saved") -> torch.Tensor:
        """What a node asks for: a tensor of the size that it saved."""
        if saved.save.asked < 0:
            saved.save.asked = len(self._ledger)
            saved.save.order = self._seen.asked
            self._seen.asked += 1
        awaited, view = saved.awaited, saved.view
        if awaited is None or view is None:
            return saved.tensor
        if awaited.whole is None:
            length = saved.bytes // saved.tensor.element_size()
            awaited.whole = saved.tensor.new_empty(length)
            self._seen.made_up += length
        awaited.give(id(saved))
        return view.on(awaited.whole)

    def released(self, saved: "_Saved") -> None:
        """A node has let go of what it saved."""
        saved.save.released = len(self._ledger)
        if saved.awaited is not None:
            saved.awaited.forget(id(saved))


class _Saved:
    """What a node has saved: a tensor, or one of no bytes in place of a value."""

    __slots__ = ("awaited", "bytes", "observer", "save", "tensor", "view")

    def __init__(
        self,
        observer: Observer,
        save: Save,
        tensor: torch.Tensor,
        awaited: Awaited | None = None,
        view: View | None = None,
        size: int = 0,
    ) -> None:
        # Whoever follows what nodes hold is not to find all that was observed.
        self.observer = weakref.ref(observer)
        self.save, self.tensor = save, tensor
        self.awaited, self.view, self.bytes = awaited, view, size
        if awaited is not None:
            awaited.expect(id(self))

    def __del__(self) -> None:
        if (observer := self.observer()) is not None:
            observer.released(self)


def _unpacked(saved: _Saved) -> torch.Tensor:
    observer = saved.observer()
    assert observer is not None  # noqa: S101 - the observed step has it
    return observer.unpacked(saved)


def observed(
    task: Task, watching: Callable[[Ledger], AbstractContextManager[object]] | None = None
) -> tuple[Seen, Trace]:
    """Run a step on fake tensors and watch the forward passes of its module.

    Args:
        task: a training step.
        watching: something else that watches all of it, given the ledger.
    """
    seen, forward = Seen(), task.module.forward

    @contextmanager
    def observer(ledger: Ledger) -> Iterator[None]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            with Observer(seen, ledger).on():
                return forward(*args, **kwargs)

        with (
            patch.object(task.module, "forward", watched),
            nullcontext() if watching is None else watching(ledger),
        ):
            yield

    with new_gradients_dropped(task):
        trace = recorded(task, real=False, observer=observer)
    return seen, trace
