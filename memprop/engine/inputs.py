"""Checks on the arrays that a user hands to a step, before any of them is used."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from memprop.errors import DataError, InvalidTypeError, InvalidValueError
from memprop.graph.graph import Graph, Variable
from memprop.graph.slices import slice_of


def check_inputs(
    graph: Graph, batch: int, arrays: Mapping[str, ArrayLike | None], slices: int = 1
) -> dict[str, np.ndarray]:
    """The arrays that a step takes as inputs, each of the right shape, type and range.

    Args:
        graph: the step.
        batch: the number of rows that every array must have.
        arrays: by variable: ``x``, and ``y`` in training.
        slices: into how many slices the step takes its batch; the arrays are returned as such.

    Raises:
        InvalidValueError: an array is missing, or has a wrong shape.
        InvalidTypeError: an array has a type that cannot be used.
        DataError: NaN, infinity, or labels out of range.
    """
    rows = batch // slices
    checked: dict[str, np.ndarray] = {}
    parts = {}
    for variable in graph.sources:
        if variable.category == "input":
            name, number = slice_of(variable.name)
            if name not in checked:
                checked[name] = _check(graph, variable, name, batch, arrays.get(name))
            start = 0 if number is None else (number - 1) * rows
            parts[variable.name] = checked[name][start : start + rows]
    return parts


def _check(
    graph: Graph, variable: Variable, name: str, batch: int, given: ArrayLike | None
) -> np.ndarray:
    if given is None:
        raise InvalidValueError(f"a training step needs {name}: pass {name}=...")
    array = as_array(name, given)
    expected = variable.shape_at(batch)
    if array.shape != expected:
        raise InvalidValueError(f"{name} must have the shape {expected}, got {array.shape}")
    if variable.dtype == "int64":
        _check_labels(name, array, _classes(graph, variable.name))
    else:
        check_numbers(name, array, variable.dtype)
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


def check_numbers(name: str, array: np.ndarray, dtype: str) -> None:
    """Raise unless ``array`` holds finite real numbers that can be stored as ``dtype``."""
    if not np.can_cast(array.dtype, dtype, casting="same_kind"):
        raise InvalidTypeError(f"{name} must hold real numbers, got the dtype {array.dtype}")
    # The sum is finite if every element is, save for overflow: then the slow test decides.
    with np.errstate(all="ignore"):
        total = np.add.reduce(array, axis=None)
    if not np.isfinite(total) and not np.isfinite(array).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise DataError(
            f"{name}{list(place)} is {array[place]}: remove or replace NaN and infinity"
        )
    largest = np.finfo(dtype).max
    if array.size and array.dtype != dtype and (array.max() > largest or array.min() < -largest):
        raise DataError(f"{name} holds numbers up to {abs(array).max():g}, too large for {dtype}")


def _check_labels(name: str, array: np.ndarray, classes: int) -> None:
    if not np.can_cast(array.dtype, np.int64, casting="same_kind") or array.dtype == bool:
        raise InvalidTypeError(f"{name} must hold integer labels, got the dtype {array.dtype}")
    if array.size and not (array.min() >= 0 and array.max() < classes):
        row = int(np.argmax((array < 0) | (array >= classes)))
        raise DataError(
            f"{name}[{row}] is the label {array[row]}: the model has outputs for 0 to {classes - 1}"
        )


def _classes(graph: Graph, labels: str) -> int:
    """The number of classes: the width of the output that is compared with the labels."""
    reader = next(operator for operator in graph.operators if labels in operator.inputs)
    return int(graph.by_name[reader.inputs[0]].shape[-1])
