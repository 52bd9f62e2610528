"""Operands of every operator that is registered, at sizes where something could go wrong."""

from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from memprop.graph.affine import BATCH
from memprop.graph.rules import ArraySpec, rule

OPERANDS = {
    **dict.fromkeys(("relu", "tanh", "sigmoid", "silu", "gelu", "identity"), "nd"),
    **dict.fromkeys(("relu_backward", "tanh_backward", "tanh_backward_from_input"), "nd nd"),
    **dict.fromkeys(("sigmoid_backward", "sigmoid_backward_from_input"), "nd nd"),
    **dict.fromkeys(("silu_backward", "gelu_backward", "add"), "nd nd"),
    "linear": "nd kd",
    "affine": "nd kd k",
    "linear_weight_gradient": "nk nd",
    "linear_input_gradient": "nk kd",
    "column_sum": "nd",
    "layer_norm": "nd d d",
    "layer_norm_gain_gradient": "nd nd",
    "layer_norm_backward": "nd nd d",
    **dict.fromkeys(("dropout", "dropout_backward", "dropout_keeping_mask"), "nd count"),
    "dropout_backward_from_mask": "nd mask",
    **dict.fromkeys(("cross_entropy", "cross_entropy_with_softmax"), "nd labels"),
    "cross_entropy_backward": "scalar softmax labels",
    "cross_entropy_backward_from_output": "scalar nd labels",
    **dict.fromkeys(("mse", "mse_with_error"), "nd nd"),
    "mse_backward": "scalar nd",
    "mse_backward_from_output": "scalar nd nd",
    "penalty": "kd dk kd",
    "penalty_backward": "kd scalar kd",
    "objective": "scalar scalar",
    "one": "",
    "mean_loss": "scalar scalar scalar",
    "mean_loss_backward": "scalar",
    "sgd": "kd kd",
    "momentum": "kd kd kd",
    **dict.fromkeys(("adam", "adamw"), "kd kd kd squares count"),
    "count": "count",
}
"""What each operator reads: a letter a dimension, or a word for what is no normal number."""

_ADAM = {"learning_rate": 0.01, "beta1": 0.8, "beta2": 0.97, "epsilon": 1e-3}
_DROPPING = [{"p": 0.3, "seed": 7, "stream": 2, "part": part} for part in (1, 3)]

ATTRIBUTES = {
    **dict.fromkeys(("dropout", "dropout_backward", "dropout_keeping_mask"), _DROPPING),
    "dropout_backward_from_mask": _DROPPING[:1],
    "penalty": [{"strength": 0.7}],
    "penalty_backward": [{"strength": 0.7}],
    "mean_loss": [{"slices": 3}],
    "mean_loss_backward": [{"slices": 3}],
    "sgd": [{"learning_rate": 0.1}],
    "momentum": [{"learning_rate": 0.1, "momentum": 0.8}],
    "adam": [_ADAM],
    "adamw": [{**_ADAM, "weight_decay": 0.3}],
}
"""The constants of operators that take some."""


@dataclass(frozen=True)
class Size:
    """Samples n, units d, other units k."""

    n: int
    d: int
    k: int

    def __str__(self):
        return f"{self.n}x{self.d}x{self.k}"


SMALL = (Size(1, 1, 1), Size(3, 5, 2))
LARGE = (Size(4683, 7, 3), Size(2, 16_387, 3))
"""More than two blocks of 16,384 elements, and a few: in many rows, in a row, in parameters."""


@dataclass(frozen=True)
class Case:
    """An operator with operands.

    Attributes:
        name: its rule.
        specs: what the operands are to ``infer``.
        operands: the arrays.
        attributes: its constants.
        batch: samples.
    """

    name: str
    specs: tuple[ArraySpec, ...]
    operands: tuple[np.ndarray, ...]
    attributes: dict
    batch: int


def cases(name, size, dtype, seed=0):
    """The cases of an operator: one for each choice of its constants."""
    words = OPERANDS[name].split()
    specs = tuple(_spec(word, size, dtype) for word in words)
    for attributes in ATTRIBUTES.get(name, [{}]):
        generator = np.random.default_rng(seed)
        operands = tuple(
            _fill(word, _concrete(spec, size.n), size, generator)
            for word, spec in zip(words, specs, strict=True)
        )
        constants = {"dtype": dtype} if name == "one" else attributes
        yield Case(name, specs, operands, constants, size.n)


def _spec(word, size, dtype):
    named = {
        "labels": ArraySpec((BATCH,), "int64"),
        "count": ArraySpec((), "int64"),
        "scalar": ArraySpec((), dtype),
        "mask": ArraySpec((BATCH, size.d), "bool"),
        "softmax": ArraySpec((BATCH, size.d), dtype),
        "squares": ArraySpec((size.k, size.d), dtype),
    }
    letters = {"n": BATCH, "d": size.d, "k": size.k}
    return named.get(word) or ArraySpec(tuple(letters[letter] for letter in word), dtype)


def _concrete(spec, batch):
    return tuple(batch if dim == BATCH else dim for dim in spec.shape), np.dtype(spec.dtype)


def _fill(word, shaped, size, generator):
    shape, dtype = shaped
    if word == "labels":
        return generator.integers(0, size.d, shape)
    if word == "count":
        return np.array(generator.integers(1, 9))
    if word == "mask":
        return generator.random(shape) < 0.5
    numbers = np.asarray(generator.standard_normal(shape))
    if word == "softmax":
        numbers = np.exp(numbers) / np.exp(numbers).sum(axis=1, keepdims=True)
    return (np.abs(numbers) if word == "squares" else numbers).astype(dtype)


def subsets(case):
    """Every way in which results and scratch may lie over operands of their own shape."""
    definition = rule(case.name)
    made = dict(zip(definition.writes + definition.scratch, made_by(case), strict=True))
    read = dict(zip(definition.ports(len(case.specs)), case.specs, strict=True))
    fitting = [pair for pair in definition.in_place if made[pair[0]] == read[pair[1]]]
    for count in range(len(fitting) + 1):
        for chosen in combinations(fitting, count):
            if all(len(set(side)) == count for side in zip(*chosen, strict=True)):
                yield chosen


def made_by(case):
    """What the results and the scratch of ``case`` are."""
    definition = rule(case.name)
    return definition.infer(*case.specs, **case.attributes) + definition.infer_scratch(
        *case.specs, **case.attributes
    )


@dataclass(frozen=True)
class Bound:
    """An operator bound to arrays.

    Attributes:
        operands: copies of those of the case.
        results: what it writes; some lie over operands.
        scratch: its workspace.
        kept: the places of operands that nothing is written over.
        definition: the rule.
        attributes: its constants.
    """

    operands: list
    results: list
    scratch: list
    kept: list
    definition: object
    attributes: dict

    def calls(self):
        arrays = (*self.operands, *self.results, *self.scratch)
        return self.definition.kernel(*arrays, **self.attributes)

    def run(self):
        for call in self.calls():
            call()
        return self


def bind(case, into=()):
    """The operator on copies of its operands; what is not written over holds NaN before."""
    definition = rule(case.name)
    operands = [array.copy() for array in case.operands]
    ports = dict(zip(definition.ports(len(operands)), range(len(operands)), strict=True))
    over = {target: ports[operand] for target, operand in (*definition.updates, *into)}
    made = []
    targets = definition.writes + definition.scratch
    for port, spec in zip(targets, made_by(case), strict=True):
        made.append(operands[over[port]] if port in over else _poisoned(spec, case.batch))
    count = len(definition.writes)
    kept = [place for place in range(len(operands)) if place not in over.values()]
    return Bound(operands, made[:count], made[count:], kept, definition, case.attributes)


def _poisoned(spec, batch):
    shape, dtype = _concrete(spec, batch)
    array = np.empty(shape, dtype)
    array.fill(np.nan if dtype.kind == "f" else 1)
    return array


@contextmanager
def as_in_a_step():
    """NumPy as the engine has it: quiet, and with small buffers."""
    before = np.setbufsize(512)
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        np.setbufsize(before)
