"""Checks on the arrays that a user hands to a step, before any of them is used."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from memprop.errors import DataError, InvalidTypeError, InvalidValueError
from memprop.graph.graph import Graph, Variable
from memprop.graph.micro_batches import micro_batch_of


@dataclass(frozen=True, slots=True)
class _Expected:
    """What an array must be; integers must be below a bound, which is 0 for other numbers."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    below: int


class Inputs:
    """What a step takes, made ready once, so that checking it costs a small step little.

    Args:
        graph: the step.
        batch: the number of rows that every array must have.
        micro_batches: into how many micro-batches the step takes its batch.
    """

    def __init__(self, graph: Graph, batch: int, micro_batches: int = 1) -> None:
        rows = batch // micro_batches
        self._expected: dict[str, _Expected] = {}
        self._slices: list[tuple[str, str, slice]] = []  # variable, array, its rows
        for variable in graph.sources:
            if variable.category == "input":
                name, number = micro_batch_of(variable.name)
                self._expected[name] = _expected(graph, variable, name, batch)
                if number is not None:
                    part = slice((number - 1) * rows, number * rows)
                    self._slices.append((variable.name, name, part))

    def check(self, arrays: Mapping[str, ArrayLike | None]) -> dict[str, np.ndarray]:
        """The arrays as the step takes them, by variable; to be called where NumPy may not warn.

        Args:
            arrays: ``x``, and ``y`` in training.

        Raises:
            InvalidValueError: an array is missing, or has a wrong shape.
            InvalidTypeError: an array has a type that cannot be used.
            DataError: NaN, infinity, or labels out of range.
        """
        checked = {
            name: _check(expected, arrays.get(name)) for name, expected in self._expected.items()
        }
        if self._slices:
            return {variable: checked[name][rows] for variable, name, rows in self._slices}
        return checked


def _expected(graph: Graph, variable: Variable, name: str, batch: int) -> _Expected:
    below = _below(graph, variable.name) if variable.dtype == "int64" else 0
    return _Expected(name, variable.shape_at(batch), np.dtype(variable.dtype), below)


def _check(expected: _Expected, given: ArrayLike | None) -> np.ndarray:
    name = expected.name
    if given is None:
        raise InvalidValueError(f"a training step needs {name}: pass {name}=...")
    array = given if type(given) is np.ndarray else as_array(name, given)
    if array.shape != expected.shape:
        raise InvalidValueError(f"{name} must have the shape {expected.shape}, got {array.shape}")
    if expected.below:
        _check_integers(name, array, expected.below)
    else:
        check_numbers(name, array, expected.dtype)
    return array


def as_array(name: str, given: ArrayLike) -> np.ndarray:
    """``given`` as an array.

    Raises:
        InvalidValueError: its rows differ in length.
        InvalidTypeError: a masked array, whose mask would be lost.
    """
    if isinstance(given, np.ma.MaskedArray):
        raise InvalidTypeError(f"{name} is a masked array: fill or drop what is masked first")
    try:
        return np.asarray(given)
    except ValueError as error:
        raise InvalidValueError(f"{name} cannot be made an array: {error}") from None


def check_numbers(name: str, array: np.ndarray, dtype: np.dtype) -> None:
    """Raise unless ``array`` holds finite real numbers that can be stored as ``dtype``."""
    if array.dtype != dtype and not np.can_cast(array.dtype, dtype, casting="same_kind"):
        raise InvalidTypeError(f"{name} must hold real numbers, got the dtype {array.dtype}")
    if not _surely_finite(array) and not np.isfinite(array).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise DataError(
            f"{name}{list(place)} is {array[place]}: remove or replace NaN and infinity"
        )
    if array.dtype != dtype and array.size:
        largest = np.finfo(dtype).max
        if array.max() > largest or array.min() < -largest:
            raise DataError(
                f"{name} holds numbers up to {abs(array).max():g}, too large for {dtype}"
            )


def _surely_finite(array: np.ndarray) -> bool:
    """Whether the sum of all squares is finite, for then every element is: the fastest test.

    The squares of large numbers may overflow; another test has to decide then, and NumPy warns of
    it unless the caller has said that it need not.
    """
    return (
        array.dtype.kind == "f"
        and array.flags.c_contiguous
        and math.isfinite(np.vdot(array, array))
    )


def _check_integers(name: str, array: np.ndarray, below: int) -> None:
    if _surely_below(array, below):
        return
    what = "integer labels" if name == "y" else "integers"
    if not np.can_cast(array.dtype, np.int64, casting="same_kind") or array.dtype == bool:
        raise InvalidTypeError(f"{name} must hold {what}, got the dtype {array.dtype}")
    wrong = (array < 0) | (array >= below)
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        where = f"{name}[{', '.join(map(str, place))}]"
        raise DataError(
            f"{where} is the label {array[place]}: the model has outputs for 0 to {below - 1}"
            if name == "y"
            else f"{where} is {array[place]}: the model takes integers from 0 to {below - 1}"
        )


def _surely_below(array: np.ndarray, below: int) -> bool:
    """Whether ``array`` is of int64 and in range: as unsigned numbers, negative ones are large."""
    if array.dtype != np.int64 or not array.size:
        return False
    return bool(np.maximum.reduce(array.view(np.uint64), axis=None) < below)


def _below(graph: Graph, name: str) -> int:
    """What the integers of an input must be below, by the rule of the operator that reads them."""
    for operator in graph.operators:
        definition = operator.definition
        ports = definition.ports(len(operator.inputs))
        for port, read in zip(ports, operator.inputs, strict=True):
            if read == name and port in definition.below:
                other, axis = definition.below[port]
                return int(graph.by_name[operator.inputs[ports.index(other)]].shape[axis])
    return 0
