"""What a kernel promises, checked by running it: a check returns, or raises OperatorCheckError."""

import gc
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Final

import numpy as np

from memprop.checking.examples import DTYPES, LARGE, SMALL, Case, Size, cases, concrete, sizes
from memprop.errors import OperatorCheckError
from memprop.graph.rules import ArraySpec, Call, Rule, rule

Formula = Callable[..., Any]
"""What an operator computes, written plainly: from its operands in float64 and its constants to a
result, or a tuple of several."""

TOLERANCE: Final[Mapping[str, float]] = {"float32": 3e-5, "float64": 1e-11}
"""Of the largest number of a result: sums of thousands of numbers are rounded."""

OBJECT_BYTES: Final = 12 * 1024
"""Python objects that running a kernel may take: calls, views, a generator of random numbers."""

COUNTED: Final = Size(40, 300, 20)
"""Where FLOPs are counted: large enough that a few numbers for each sample do not matter."""

_BUFFER_ELEMENTS: Final = 512


@dataclass(frozen=True)
class Bound:
    """An operator bound to arrays.

    Attributes:
        case: the operator and its shapes.
        operands: copies of those of the case.
        results: what it writes; some lie over operands.
        scratch: its workspace.
        kept: the places of operands that nothing is written over.
    """

    case: Case
    operands: list[np.ndarray]
    results: list[np.ndarray]
    scratch: list[np.ndarray]
    kept: list[int]

    def calls(self) -> Iterator[Call]:
        """The calls of its kernel."""
        arrays = (*self.operands, *self.results, *self.scratch)
        return iter(self.case.definition.kernel(*arrays, **self.case.attributes))

    def run(self) -> "Bound":
        """Make the calls, in the setting that the engine makes them in."""
        with as_in_a_step():
            for call in self.calls():
                call()
        return self


@contextmanager
def as_in_a_step() -> Iterator[None]:
    """NumPy with the engine's settings: no warnings, and small buffers."""
    before = np.setbufsize(_BUFFER_ELEMENTS)
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        np.setbufsize(before)


Pairs = tuple[tuple[str, str], ...]


def bind(case: Case, into: Pairs = (), poison: float = np.nan) -> Bound:
    """The operator on copies of its operands.

    Args:
        case: what is tried.
        into: pairs ``(target, operand)``: what is written over what.
        poison: what everything else that it writes holds before.
    """
    definition = case.definition
    operands = [array.copy() for array in case.operands]
    ports = dict(zip(definition.ports(len(operands)), range(len(operands)), strict=True))
    over = {target: ports[operand] for target, operand in (*definition.updates, *into)}
    made = []
    targets = definition.writes + definition.scratch
    for port, spec in zip(targets, case.made, strict=True):
        shape, _ = concrete(spec, case.batch)
        given = operands[over[port]].reshape(shape) if port in over else None
        made.append(_poisoned(spec, case.batch, poison) if given is None else given)
    count = len(definition.writes)
    kept = [place for place in range(len(operands)) if place not in over.values()]
    return Bound(case, operands, made[:count], made[count:], kept)


def _poisoned(spec: ArraySpec, batch: int, poison: float) -> np.ndarray:
    shape, dtype = concrete(spec, batch)
    array = np.empty(shape, dtype)
    array.fill(poison if dtype.kind == "f" else np.isnan(poison))
    return array


def subsets(case: Case) -> Iterator[Pairs]:
    """Every way in which results and scratch may lie over operands."""
    definition = case.definition
    made = dict(zip(definition.writes + definition.scratch, case.made, strict=True))
    read = dict(zip(definition.ports(len(case.specs)), case.specs, strict=True))
    fitting = [pair for pair in definition.in_place if made[pair[0]].fits(read[pair[1]])]
    for count in range(len(fitting) + 1):
        for chosen in combinations(fitting, count):
            if all(len(set(side)) == count for side in zip(*chosen, strict=True)):
                yield chosen


def _fail(case: Case, what: str) -> OperatorCheckError:
    shapes = ", ".join(str(array.shape) for array in case.operands)
    constants = f" with {dict(case.attributes)}" if case.attributes else ""
    return OperatorCheckError(f"the operator {case.name!r} on {shapes}{constants}: {what}")


def check_kernel(name: str, size: Size, dtype: str, formula: Formula | None = None) -> None:
    """Its results are written in full and have the shapes declared; its operands stay as they are.

    Args:
        name: the operator.
        size: of the operands.
        dtype: likewise.
        formula: what it should compute; without one, float32 is held against float64.
    """
    for case in cases(name, size, dtype):
        bound, other = bind(case).run(), bind(case, poison=7).run()
        for found, again in zip(bound.results, other.results, strict=True):
            if not _same(found, again):
                raise _fail(case, "a result depends on what was in its buffer before")
        for place in bound.kept:
            if not _same(bound.operands[place], case.operands[place]):
                raise _fail(case, f"it changes its operand number {place + 1}")
        wanted = _wanted(case, dtype, formula)
        for found, expected in zip(bound.results, wanted, strict=True):
            _check_close(case, found, expected, dtype)


def _wanted(case: Case, dtype: str, formula: Formula | None) -> tuple[np.ndarray, ...]:
    """The results in float64."""
    operands = [a.astype(np.float64) if a.dtype.kind == "f" else a for a in case.operands]
    if formula is not None:
        found = formula(*operands, **case.attributes)
        return found if isinstance(found, tuple) else (found,)
    draws = "stream" in case.attributes  # other numbers in each dtype
    if dtype == "float64" or draws:
        return tuple(bind(case).run().results)
    specs = tuple(
        spec._replace(dtype="float64") if spec.dtype == dtype else spec for spec in case.specs
    )
    return tuple(bind(replace(case, specs=specs, operands=tuple(operands))).run().results)


def _check_close(case: Case, found: np.ndarray, expected: np.ndarray, dtype: str) -> None:
    if found.shape != np.shape(expected):
        raise _fail(case, f"it writes a result of shape {found.shape}, not {np.shape(expected)}")
    bound = TOLERANCE[dtype] * max(float(np.abs(expected).max(initial=0)), 1e-3)
    off = float(np.abs(found.astype(np.float64) - expected).max(initial=0))
    if not off <= bound:
        raise _fail(case, f"a result is off by {off:g} in {dtype}, more than {bound:g}")


def check_in_place(name: str, size: Size, dtype: str) -> None:
    """Whatever it writes over operands that die, its results are the same bits."""
    for case in cases(name, size, dtype):
        apart = bind(case).run()
        for into in subsets(case):
            over = bind(case, into).run()
            shown = ", ".join(f"{target} over {operand}" for target, operand in into)
            for found, wanted in zip(over.results, apart.results, strict=True):
                if not _same(found, wanted):
                    raise _fail(case, f"a result is another with {shown}")
            for place in over.kept:
                if not _same(over.operands[place], case.operands[place]):
                    raise _fail(case, f"it changes its operand number {place + 1} with {shown}")


def check_bound_once(name: str, size: Size) -> None:
    """Its calls compute on what the arrays hold when they are made, not when they were bound."""
    first_seed, second_seed = (cases(name, size, "float32", seed) for seed in (1, 2))
    for first, second in zip(first_seed, second_seed, strict=True):
        bound = bind(first)
        calls = tuple(bound.calls())
        with as_in_a_step():
            for call in calls:
                call()
            for array, content in zip(bound.operands, second.operands, strict=True):
                array[...] = content
            for call in calls:
                call()
        for found, wanted in zip(bound.results, bind(second).run().results, strict=True):
            if not _same(found, wanted):
                raise _fail(first, "its calls, made a second time, use what they were bound to")


def check_allocates_nothing(name: str, size: Size) -> None:
    """It allocates no array: whatever a kernel needs is declared as scratch."""
    for case in cases(name, size, "float32"):
        bind(case).run()  # what is made once, as the BLAS's functions are
        bound = bind(case)
        gc.collect()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            bound.run()
            grown = tracemalloc.get_traced_memory()[1] - before
        finally:
            tracemalloc.stop()
        if grown > OBJECT_BYTES:
            raise _fail(case, f"it allocates {grown:,} bytes: declare them as scratch, or use out=")


def check_flops(name: str, size: Size = COUNTED) -> None:
    """It declares the floating-point operations that its calls do.

    Calls of functions that are not NumPy's cannot be counted; where there are some, nothing is
    said.
    """
    definition = rule(name)
    for case in cases(name, size, "float64") if definition.counts_calls else ():
        declared = definition.flops(*case.specs, **case.attributes).at(case.batch)
        counts = [flops_of(call) for call in bind(case).calls()]
        if None in counts:
            continue
        counted = sum(count for count in counts if count is not None)
        largest = max((array.size for array in case.operands), default=0)
        # A few numbers for each sample are left out.
        if abs(counted - declared) > max(0.1 * largest, 3):
            raise _fail(case, f"it declares {declared:,} FLOPs, its calls do {counted:,}")


_MOVES: Final = ("take", "put", "fill", "copyto", "copy")


def flops_of(call: Any) -> int | None:
    """What one call computes: an operation an element, two where it multiplies and adds.

    ``None`` where that is not known.
    """
    function = call.func
    arguments = [a for a in call.args if isinstance(a, np.ndarray)]
    owner, name = getattr(function, "__self__", None), getattr(function, "__name__", "")
    if function is np.dot or function is np.matmul:
        a, b = arguments[:2]
        return 2 * a.size * (b.shape[-1] if b.ndim > 1 else 1)
    if isinstance(function, np.ufunc):
        return arguments[-1].size
    if isinstance(owner, np.ufunc):
        return arguments[-1 if name == "at" else 0].size
    if isinstance(owner, np.ndarray):
        return owner.size if name == "clip" else 0
    if name in _MOVES:
        return 0
    if "axpy" in repr(function):
        return 2 * call.args[2]
    return arguments[0].size if "scal" in repr(function) else None


def check_gradients(name: str, form: str, size: Size = SMALL[1]) -> None:
    """Its gradients, in the form "textbook" or "lean", are those of central differences."""
    for case in cases(name, size, "float64"):
        _check_gradients(case, form)


def _check_gradients(case: Case, form: str) -> None:
    definition = case.definition
    generator = np.random.default_rng(5)
    results = dict(zip(definition.writes, bind(case).run().results, strict=True))
    made = dict(zip(definition.writes, case.made, strict=False))
    derivative = definition.derivative(form) or ()
    asked = {port for gradient in derivative for port in gradient.reads}
    seeds = {
        f"d{port}": np.asarray(generator.standard_normal(array.shape))
        for port, array in results.items()
        if f"d{port}" in asked
    }
    if not seeds:
        raise _fail(case, "its gradients read the gradient of none of its results")

    def objective() -> float:
        found = dict(zip(definition.writes, bind(case).run().results, strict=True))
        return sum(float((seed * found[port[1:]]).sum()) for port, seed in seeds.items())

    ports = definition.ports(len(case.operands))
    known = dict(zip(ports, zip(case.specs, case.operands, strict=True), strict=True))
    known |= {port: (made[port], array) for port, array in results.items()}
    known |= {port: (made[port[1:]], array) for port, array in seeds.items()}
    for gradient in derivative:
        for place in (number for number, port in enumerate(ports) if port == gradient.of):
            spec, operand = case.specs[place], case.operands[place]
            at = {**known, gradient.of: (spec, operand)}
            reads = [at[port] for port in gradient.reads]
            begun = np.zeros_like(operand)
            if gradient.accumulates:
                begun = generator.standard_normal(operand.shape)
                reads.insert(0, (spec, begun))
            found = reads[0][1] if gradient.rule is None else _computed(gradient.rule, reads, case)
            wanted = begun + central_differences(objective, operand)
            bound = 1e-7 * max(float(np.abs(wanted).max(initial=0)), 1e-3)
            off = float(np.abs(found - wanted).max(initial=0))
            if found.shape != wanted.shape or not off <= bound:
                raise _fail(
                    case,
                    f"the {form} gradient of {gradient.of} is off by {off:g} from central "
                    f"differences, more than {bound:g}",
                )


def _computed(name: str, reads: list[tuple[ArraySpec, np.ndarray]], case: Case) -> np.ndarray:
    """What the rule of a gradient makes of ``reads``, with the constants of the operator."""
    specs, operands = zip(*reads, strict=True)
    return bind(replace(case, name=name, specs=specs, operands=operands)).run().results[0]


def central_differences(
    function: Callable[[], float], array: np.ndarray, epsilon: float = 1e-6
) -> np.ndarray:
    """The gradient of ``function()`` with respect to ``array``, element by element, in float64."""
    gradient = np.empty_like(array)
    flat, out = array.reshape(-1), gradient.reshape(-1)
    for place, value in enumerate(flat.tolist()):
        flat[place] = value + epsilon
        above = function()
        flat[place] = value - epsilon
        below = function()
        flat[place] = value
        out[place] = (above - below) / (2 * epsilon)
    return gradient


def check_lean_rule(name: str, size: Size, dtype: str) -> None:
    """The lean rule gives the same bits, and its residuals."""
    lean = str(rule(name).lean_rule)
    for case in cases(name, size, dtype):
        results = bind(case).run().results
        for found, wanted in zip(
            bind(replace(case, name=lean)).run().results, results, strict=False
        ):
            if not _same(found, wanted):
                raise _fail(case, f"its lean rule {lean!r} gives other results")


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def forms(definition: Rule) -> Iterator[str]:
    """The forms in which it has gradients of its own: "textbook", "lean"."""
    if definition.gradients:
        yield "textbook"
    if definition.lean_gradients:
        yield "lean"


def check_rule(name: str, formula: Formula | None = None) -> None:
    """All checks of one rule, at all sizes and in both dtypes."""
    definition = rule(name)
    for size in sizes(name):
        for dtype in DTYPES:
            check_kernel(name, size, dtype, formula)
            check_in_place(name, size, dtype)
            if definition.lean_rule is not None:
                check_lean_rule(name, size, dtype)
        check_bound_once(name, size)
    for size in dict.fromkeys((LARGE[0], sizes(name)[-1])):
        check_allocates_nothing(name, size)
    for form in forms(definition):
        check_gradients(name, form)
        check_gradients(name, form, Size(1, 4, 1))
