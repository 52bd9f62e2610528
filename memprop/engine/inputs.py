"""Checks on the arrays that a user hands to a step, before any of them is used."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from memprop.errors import DataError, InvalidTypeError, InvalidValueError
from memprop.graph.graph import Graph, Variable
from memprop.graph.slices import slice_of


@dataclass(frozen=True, slots=True)
class _Expected:
    """What an array must be."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    classes: int


class Inputs:
    """What a step takes, made ready once, so that checking it costs a small step little.

    Args:
        graph: the step.
        batch: the number of rows that every array must have.
        slices: into how many slices the step takes its batch.
    """

    def __init__(self, graph: Graph, batch: int, slices: int = 1) -> None:
        rows = batch // slices
        self._expected: dict[str, _Expected] = {}
        self._slices: list[tuple[str, str, slice]] = []  # variable, array, its rows
        for variable in graph.sources:
            if variable.category == "input":
                name, number = slice_of(variable.name)
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
    classes = _classes(graph, variable.name) if variable.dtype == "int64" else 0
    return _Expected(name, variable.shape_at(batch), np.dtype(variable.dtype), classes)


def _check(expected: _Expected, given: ArrayLike | None) -> np.ndarray:
    name = expected.name
    if given is None:
        raise InvalidValueError(f"a training step needs {name}: pass {name}=...")
    array = given if type(given) is np.ndarray else as_array(name, given)
    if array.shape != expected.shape:
        raise InvalidValueError(f"{name} must have the shape {expected.shape}, got {array.shape}")
    if expected.classes:
        _check_labels(name, array, expected.classes)
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


def _check_labels(name: str, array: np.ndarray, classes: int) -> None:
    if _surely_labels(array, classes):
        return
    if not np.can_cast(array.dtype, np.int64, casting="same_kind") or array.dtype == bool:
        raise InvalidTypeError(f"{name} must hold integer labels, got the dtype {array.dtype}")
    if array.size and not (array.min() >= 0 and array.max() < classes):
        row = int(np.argmax((array < 0) | (array >= classes)))
        raise DataError(
            f"{name}[{row}] is the label {array[row]}: the model has outputs for 0 to {classes - 1}"
        )


def _surely_labels(array: np.ndarray, classes: int) -> bool:
    """Whether ``array`` is of int64 and in range: as unsigned numbers, negative ones are large."""
    if array.dtype != np.int64 or not array.size:
        return False
    return bool(np.maximum.reduce(array.view(np.uint64)) < classes)


def _classes(graph: Graph, labels: str) -> int:
    """The number of classes: the width of the output that is compared with the labels."""
    reader = next(operator for operator in graph.operators if labels in operator.inputs)
    return int(graph.by_name[reader.inputs[0]].shape[-1])
