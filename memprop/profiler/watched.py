"""An array that records how it is used."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from memprop.profiler.calls import Call, Operands, arrays_in, plain_array, replace
from memprop.profiler.effects import LOOK_ONLY, WRITE_FIRST, position_of_out

if TYPE_CHECKING:
    from memprop.profiler.ledger import Ledger


class WatchedArray(np.ndarray):
    """A NumPy array whose reads, writes and copies are recorded by a profiler.

    It shares the memory of the array it was made from. Every operation runs on plain arrays, so
    values, dtypes, shapes, strides and scalars are those of the unwatched program; results that
    are arrays are watched too. ``np.asarray`` and ``np.array`` give plain ones.

    What differs from a plain array: ``type(x) is np.ndarray`` is false, ``x.base`` is not None,
    ``x.resize`` (in place) is refused by NumPy, and a pickle of it is one of a plain array.
    """

    is_watched: ClassVar[bool] = True
    _ledger: "Ledger | None"

    def __array_finalize__(self, obj: object) -> None:
        """Views that NumPy makes by itself belong to the profiler of what they are made from."""
        self._ledger = getattr(obj, "_ledger", None)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        out = arrays_in(kwargs.get("out"))
        reads = (inputs, {name: value for name, value in kwargs.items() if name != "out"})
        call = Call(
            name=ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}",
            function=getattr(ufunc, method),
            args=inputs,
            kwargs=kwargs,
            inputs=reads,
            written=(inputs[0],) if method == "at" else out,
            partial=method == "at" or kwargs.get("where", True) is not True,
            identity=ufunc,
        )
        return perform(self._ledger, call)

    def __array_function__(
        self, func: Callable[..., Any], types: Any, args: Any, kwargs: Any
    ) -> Any:
        if func in LOOK_ONLY:
            operands = Operands()
            return func(*operands.plain(args), **operands.plain(kwargs))
        return perform(self._ledger, _function_call(func, tuple(args), dict(kwargs)))

    def __reduce_ex__(self, protocol: Any) -> Any:
        return plain_array(self).__reduce_ex__(protocol)

    def __repr__(self) -> str:
        return repr(plain_array(self))

    def __str__(self) -> str:
        return str(plain_array(self))

    def __format__(self, spec: str) -> str:
        return format(plain_array(self), spec)


def perform(ledger: "Ledger | None", call: Call) -> Any:
    """Run ``call`` on plain arrays and record it; results that are arrays are watched."""
    operands = Operands()
    result = call.function(*operands.plain(call.args), **operands.plain(call.kwargs))
    if ledger is None or ledger.closed:
        return replace(result, lambda leaf: operands.original.get(id(leaf), leaf))
    ledger.record(call, result, operands)

    def restored(leaf: Any) -> Any:
        if id(leaf) in operands.original:
            return operands.original[id(leaf)]
        known = type(leaf) is np.ndarray and ledger.knows(leaf)
        return watched(leaf, ledger) if known else leaf

    return replace(result, restored)


def watched(array: np.ndarray, ledger: "Ledger") -> WatchedArray:
    """The same memory as an array that ``ledger`` records."""
    view = array.view(WatchedArray)
    view._ledger = ledger
    return view


def _function_call(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
    """The call of a NumPy function that is no ufunc."""
    if func in WRITE_FIRST:
        written, reads = args[:1], (args[1:], kwargs)
    else:
        place = position_of_out(func)
        written = (*([args[place]] if place is not None and len(args) > place else ()),)
        written = (*written, *arrays_in(kwargs.get("out")))
        reads = (
            [argument for index, argument in enumerate(args) if index != place],
            {name: value for name, value in kwargs.items() if name != "out"},
        )
    return Call(
        name=func.__name__,
        function=func,
        args=args,
        kwargs=kwargs,
        inputs=reads,
        written=arrays_in(written),
        partial=(func in WRITE_FIRST and func is not np.copyto) or "where" in kwargs,
        identity=func,
    )


def _method(name: str) -> Callable[..., Any]:
    """A method of ndarray, recorded as one operation."""
    original = getattr(np.ndarray, name)

    def method(self: WatchedArray, *args: Any, **kwargs: Any) -> Any:
        out = arrays_in(kwargs.get("out"))
        call = Call(
            name=name.strip("_"),
            function=original,
            args=(self, *args),
            kwargs=kwargs,
            inputs=(self, args, {key: value for key, value in kwargs.items() if key != "out"}),
            written=out,
            identity=original,
        )
        return perform(self._ledger, call)

    method.__name__ = name
    method.__doc__ = original.__doc__
    return method


def _writing_method(name: str) -> Callable[..., Any]:
    """A method of ndarray that writes into the array."""
    original = getattr(np.ndarray, name)

    def method(self: WatchedArray, *args: Any, **kwargs: Any) -> Any:
        call = Call(
            name=name.strip("_"),
            function=original,
            args=(self, *args),
            kwargs=kwargs,
            inputs=(args, kwargs),
            written=(self,),
            partial=not (name == "fill" or (name == "__setitem__" and _is_all(args[0]))),
        )
        return perform(self._ledger, call)

    method.__name__ = name
    method.__doc__ = original.__doc__
    return method


def _is_all(index: Any) -> bool:
    """Whether an index stands for the whole array."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(
        part is Ellipsis or (isinstance(part, slice) and part == slice(None)) for part in parts
    )


def _view_attribute(name: str) -> property:
    """An attribute of ndarray that is an array itself."""
    original = getattr(np.ndarray, name)
    call_name = name

    def get(self: WatchedArray) -> Any:
        call = Call(
            name=call_name, function=original.__get__, args=(self,), kwargs={}, inputs=(self,)
        )
        return perform(self._ledger, call)

    def set_(self: WatchedArray, value: Any) -> None:
        call = Call(
            name=call_name,
            function=original.__set__,
            args=(self, value),
            kwargs={},
            inputs=(value,),
            written=(self,),
            partial=True,
        )
        perform(self._ledger, call)

    return property(get, set_, doc=original.__doc__)


_READING_METHODS: Final = (
    *("__getitem__", "__copy__", "__deepcopy__", "all", "any", "argmax", "argmin", "argpartition"),
    *("argsort", "astype", "choose", "clip", "compress", "conj", "conjugate", "copy", "cumprod"),
    *("cumsum", "diagonal", "dot", "flatten", "item", "max", "mean", "min", "nonzero", "prod"),
    *("ravel", "repeat", "reshape", "round", "searchsorted", "squeeze", "std", "sum", "swapaxes"),
    *("take", "tobytes", "tolist", "trace", "transpose", "var"),
)
_WRITING_METHODS: Final = ("__setitem__", "fill", "partition", "put", "sort")
_VIEW_ATTRIBUTES: Final = ("T", "mT", "real", "imag")

for _name in _READING_METHODS:
    setattr(WatchedArray, _name, _method(_name))
for _name in _WRITING_METHODS:
    setattr(WatchedArray, _name, _writing_method(_name))
for _name in _VIEW_ATTRIBUTES:
    setattr(WatchedArray, _name, _view_attribute(_name))
