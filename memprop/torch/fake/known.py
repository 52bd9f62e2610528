"""The operators of a simulated step: for real where their numbers are known, else on fake tensors.

A program may ask for numbers that do not come from its parameters: whether a mask has padding, how
long its sequences are, whether a random number is below a threshold. A real step has them, so a
simulated one must have them too.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final
from weakref import WeakKeyDictionary, WeakValueDictionary

import torch
from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeTensor
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from memprop.errors import InvalidValueError
from memprop.torch.fake.collectives import at_once
from memprop.torch.fake.corrections import faked
from memprop.torch.fake.cuda.devices import Devices
from memprop.torch.fake.tensors import Fakes, has_device
from memprop.torch.fake.untouched import Untouched
from memprop.torch.record.communication import is_collective
from memprop.torch.record.ours import asked_device
from memprop.torch.record.parts import any_wraps
from memprop.torch.record.schema import (
    makes_tensors,
    named_arguments,
    operands,
    tensors,
    with_operands,
    written,
)
from memprop.torch.record.storages import be_again, be_replaced, home_of
from memprop.torch.state.ambient import seed_cudnn_again

_aten: Final = torch.ops.aten

MOST_INTEGERS: Final = 2**20
"""The most elements of a tensor of integers or truth values that is computed for real."""
MOST_NUMBERS: Final = 2**12
"""The same for tensors of other numbers."""

_SHAPED_BY: Final[dict[Any, Callable[[Sequence[Any]], Any]]] = {
    _aten.index.Tensor: lambda args: args[1],
    _aten.masked_select.default: lambda args: args[1],
    _aten._ctc_loss.default: lambda args: args[1],
    _aten._ctc_loss.Tensor: lambda args: args[1:4],
    _aten._pack_padded_sequence.default: lambda args: args[1],
    _aten.repeat_interleave.self_Tensor: lambda args: args[1],
}
"""Operators whose results have a shape that depends on numbers, and the operands that have them."""

_OF_CUDNN: Final = {
    _aten._cudnn_init_dropout_state.default,
    _aten._cudnn_rnn_flatten_weight.default,
    _aten._cudnn_rnn.default,
    _aten._cudnn_rnn_backward.default,
}
"""Operators of cuDNN's recurrent layers."""
_FUNCTIONAL: Final = "_c10d_functional"
_LEAVES_KNOWN: Final = {_aten._amp_foreach_non_finite_check_and_unscale_.default: "found_inf"}
"""Operators that write a number which a simulation takes to stay as it was, and its name.

No gradient of a simulated step is infinite, so a scaler of gradients goes on as it mostly does.
"""
_LIFTS: Final = (_aten.lift_fresh.default, _aten.lift_fresh_copy.default, _aten.lift.default)


class Known(TorchDispatchMode):
    """Decides for every operator of a simulated step how it runs.

    An operator runs for real if all that it is given is known, and what it makes is small. A tensor
    is known if it was made so; or if it was there before the step, needs no gradient, and is small
    and of integers or truth values, or a single number.

    Args:
        fakes: makes the fake of a real tensor.
        untouched: called with each real tensor that was there before the step.
        devices: where tensors are, if fake ones of the CPU stand for those of CUDA.
    """

    def __init__(self, fakes: Fakes, untouched: Untouched, devices: Devices | None = None) -> None:
        super().__init__()
        self._devices = devices
        self._fakes = fakes
        self._untouched = untouched
        self._known: WeakKeyDictionary[torch.UntypedStorage, bool] = WeakKeyDictionary()
        """Real storages that were made in the step, or written to: whether their numbers are."""
        # Weak: a copy that the step releases must die as its original would.
        self._copies: WeakValueDictionary[int, torch.Tensor] = WeakValueDictionary()
        self._copied_storages: WeakValueDictionary[int, torch.UntypedStorage] = (
            WeakValueDictionary()
        )
        self._originals: list[torch.Tensor] = []
        self._replaced: list[torch.UntypedStorage] = []

    def learn(self, made: Any, given: Iterable[torch.Tensor] = ()) -> Any:
        """Note that the real tensors in a tree are known, but for views of what was given."""
        before = {tensor.untyped_storage()._cdata for tensor in given}
        for tensor in _strided(made):
            storage = tensor.untyped_storage()
            if storage._cdata not in before:
                self._known.setdefault(storage, True)
        return made

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if (device := asked_device(func, args)) is not None:
            return device
        kwargs = kwargs or {}
        if any_wraps(types):
            return NotImplemented  # it comes again with what they wrap
        if not self._fakes.are_made_now():  # DTensor asks fakes of its own for shapes
            return func(*args, **kwargs)
        if self._devices is None:
            return self._result(func, args, kwargs)
        with self._devices.internal():
            result = self._result(func, args, kwargs)
            if func.namespace != "prim":
                given = [] if func in _LIFTS else operands(args, kwargs)
                self._devices.place(_strided(result), _strided(given))
        return result

    def _result(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if func.namespace == "prim":  # questions about a tensor, no operators
            return func(*args, **kwargs) if self._fakes.are_ours(args[0]) else _run(func, args, {})
        if self._devices is None:
            _check_not_of_cudnn(func)
        given = operands(args, kwargs)
        if func in _LIFTS:  # torch.tensor(...) has made its tensor unseen
            self.learn(given)
        for tensor in given:
            if not self._fakes.are_ours(tensor) and not self.was_made(tensor):
                self._untouched.keep(tensor)
        if _is_exchange(func):
            return self._exchanged(func, args, kwargs, given)
        if self._can_run(func, given, args, kwargs):
            try:
                return self.learn(_run(func, args, kwargs), given)
            except NotImplementedError:
                if self._devices is None:
                    raise
                # CUDA has kernels that the CPU has not, as for histograms of integers.
        return self._fake(func, args, kwargs)

    def _exchanged(
        self, func: Any, args: Any, kwargs: dict[str, Any], given: Iterable[torch.Tensor]
    ) -> Any:
        """What a collective returns; what other ranks would have sent is not known."""
        if func.name() == "_c10d_functional::wait_tensor":  # its fake kernel makes another tensor
            return args[0]
        if not is_collective(func):
            return self._fake(func, args, kwargs)
        for tensor in given:
            if not _is_fake(tensor):
                self._known[tensor.untyped_storage()] = False
        return at_once(func, args)

    def close(self) -> None:
        """Forget what was copied."""
        for storage in self._replaced:
            be_again(storage)

    def was_made(self, tensor: torch.Tensor) -> bool:
        """Whether the step made a real tensor, or wrote to it."""
        return tensor.layout == torch.strided and tensor.untyped_storage() in self._known

    def copy(self, tensor: torch.Tensor) -> torch.Tensor:
        """A known tensor that stands for one that was there before, and may be written to."""
        copied = self._copies.get(id(tensor))
        if copied is None:
            self._originals.append(tensor)  # no other tensor may get its id meanwhile
            copied = self._copies[id(tensor)] = self.learn(self._copy(tensor))
        return copied

    def _copy(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        copied = self._copied_storages.get(storage._cdata)
        with no_dispatch():
            if copied is None:
                copied = self._copied_storages[storage._cdata] = storage.clone()
                be_replaced(storage, copied)
                self._replaced.append(storage)
            empty = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
            where = (tensor.storage_offset(), tensor.size(), tensor.stride())
            return empty.set_(copied, *where)

    def is_known(self, tensor: torch.Tensor) -> bool:
        """Whether the numbers of a tensor are those of a real step."""
        if _is_fake(tensor):
            return False
        if tensor.layout != torch.strided or self._fakes.must_move(tensor):
            return False
        known = self._known.get(tensor.untyped_storage())
        if known is not None:
            return known
        exact = not (tensor.is_floating_point() or tensor.is_complex()) or tensor.dim() == 0
        return exact and not tensor.requires_grad and _is_small(tensor)

    def _can_run(
        self, func: Any, given: Sequence[torch.Tensor], args: Any, kwargs: dict[str, Any]
    ) -> bool:
        """Whether an operator may run for real: on known tensors, and making what is small."""
        if not all(map(self.is_known, given)):
            return False
        device = kwargs.get("device")
        if device is not None and not has_device(torch.device(device)):
            return False
        writes = written(func, args, kwargs)
        if writes:
            return all(map(self.was_made, writes))
        if func.is_view or not makes_tensors(func):
            return True
        try:
            made = self._fake(func, args, kwargs)
        except DynamicOutputShapeException:
            return True  # about as small as its operands
        return all(map(_is_small, tensors(made)))

    def _fake(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Run an operator on fake tensors."""
        writes = [tensor for tensor in written(func, args, kwargs) if not _is_fake(tensor)]
        _check_shapes_stay(func, writes)
        fake_args, fake_kwargs = with_operands(self._fakes.of, args, kwargs)
        try:
            result = faked(func, fake_args, fake_kwargs, cuda=self._devices is not None)
        except RuntimeError:
            # The fake kernel of ctc_loss refuses lengths on the CPU with samples on a GPU.
            if func not in _SHAPED_BY:
                raise
            result = self._shaped(func, args, kwargs)
        _check_dense(func, result)
        unchanged = _LEAVES_KNOWN.get(func)
        if unchanged is not None:
            known = named_arguments(func, args, kwargs)[unchanged]
            writes = [tensor for tensor in writes if tensor is not known]
        return self._written_over(writes, result) if writes else result

    def _written_over(self, writes: Sequence[torch.Tensor], result: Any) -> Any:
        """The result of an operator with the real tensors that it would have written to.

        It is these that the program holds.
        """
        for tensor in writes:
            self._known[tensor.untyped_storage()] = False
        homes = {home_of(tensor)._cdata: tensor for tensor in writes}
        return tree_map_only(
            torch.Tensor, lambda made: homes.get(home_of(made)._cdata, made), result
        )

    def _shaped(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """The result of an operator whose shape depends on known numbers.

        Raises:
            DynamicOutputShapeException: the shape depends on others, or they are not known.
        """
        if not all(map(self.is_known, tensors(_SHAPED_BY[func](args)))):
            raise DynamicOutputShapeException(func)
        blank = with_operands(
            lambda tensor: tensor if self.is_known(tensor) else _blank(tensor), args, kwargs
        )
        made = self.learn(_run(func, *blank))
        return tree_map_only(
            torch.Tensor, lambda t: self._fakes.of(t) if t.is_floating_point() else t, made
        )


def _is_exchange(func: Any) -> bool:
    """Whether other ranks take part in an operator."""
    return is_collective(func) or func.namespace.startswith(_FUNCTIONAL)


def _is_fake(tensor: torch.Tensor) -> bool:
    return isinstance(tensor, FakeTensor)


def _strided(tree: Any) -> Iterable[torch.Tensor]:
    return (tensor for tensor in tensors(tree) if tensor.layout == torch.strided)


def _is_small(tensor: torch.Tensor) -> bool:
    most = MOST_NUMBERS if tensor.is_floating_point() or tensor.is_complex() else MOST_INTEGERS
    return tensor.numel() <= most


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    with no_dispatch():
        return func(*args, **kwargs)


def _blank(tensor: torch.Tensor) -> torch.Tensor:
    """A real tensor of the same shape, all of whose elements are one zero in memory."""
    with no_dispatch():
        return torch.zeros((), dtype=tensor.dtype, device=tensor.device).expand(tensor.shape)


def _check_not_of_cudnn(func: Any) -> None:
    """Raise InvalidValueError for a recurrent layer of cuDNN, which decides what it keeps."""
    if func not in _OF_CUDNN:
        return
    seed_cudnn_again()
    raise InvalidValueError(
        f"only cuDNN knows how much {func} keeps for its backward pass: use memprop.torch.trace, "
        "or simulate the module on the CPU"
    )


def _check_dense(func: Any, result: Any) -> None:
    for tensor in tensors(result):
        if tensor.layout != torch.strided:
            raise InvalidValueError(
                f"{func} makes a tensor of layout {tensor.layout}, whose size a simulation does "
                "not know: use memprop.torch.trace"
            )


def _check_shapes_stay(func: Any, writes: Sequence[torch.Tensor]) -> None:
    """Raise InvalidValueError if a real tensor would get another shape in place."""
    if not writes or torch.Tag.inplace_view not in func.tags or func is _aten.detach_.default:
        return
    raise InvalidValueError(
        f"the step gives another shape in place ({func}) to a tensor that was there before it, "
        "which a simulation must leave as it is: use the operator that makes a view, or "
        "memprop.torch.trace"
    )
