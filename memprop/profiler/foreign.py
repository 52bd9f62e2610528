"""Frameworks with memory of their own: whether they were at work while a phase was open.

tracemalloc sees what goes through Python's and NumPy's allocators: of a tensor the Python object,
some hundred bytes, and never its numbers. So a profile of code for PyTorch or JAX looks as if next
to nothing had been allocated. Nothing is imported here, and that a framework is loaded says
nothing. It was at work if arrays of its own live at the end of a phase that were not there when it
began, or if PyTorch's autograd has noted an operation meanwhile. All objects are looked through for
that, which takes some hundredths of a second in a large program, so each phase is looked at the
first time only. What makes arrays without gradients and keeps none is not noticed.
"""

import gc
import sys
import tracemalloc
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Framework:
    """A framework that allocates its arrays by itself.

    Attributes:
        name: what people call it.
        module: what they import.
        array: the class of its arrays: the package that it is from, and its name.
        instead: what shows its arrays.
    """

    name: str
    module: str
    array: tuple[str, str]
    instead: str

    @property
    def loaded(self) -> bool:
        """Whether the program has imported it."""
        return self.module in sys.modules

    def is_array(self, kind: type) -> bool:
        """Whether ``kind`` is the class of its arrays, or derived from it."""
        package, name = self.array
        return any(
            base.__name__ == name and str(base.__module__).partition(".")[0] == package
            for base in kind.__mro__
        )


FRAMEWORKS: Final = (
    Framework("PyTorch", "torch", ("torch", "Tensor"), "memprop.torch.trace"),
    Framework("JAX", "jax", ("jaxlib", "ArrayImpl"), "memprop.jax"),
)


@dataclass
class Foreign:
    """What was found in the phases of one profile.

    Attributes:
        found: the frameworks that were at work, each with the phase in which it was first seen.
    """

    found: dict[Framework, str] = field(default_factory=dict)
    _seen: set[tuple[str, ...]] = field(default_factory=set)
    _before: dict[tuple[str, ...], "_Before"] = field(default_factory=dict)

    def begins(self, path: tuple[str, ...]) -> None:
        """Begin a phase. This resets the traced peak: nothing else may be measuring with it."""
        if path not in self._seen and any(self._looked_for()):
            self._before[path] = _Before.now(self._looked_for())
            tracemalloc.reset_peak()
        self._seen.add(path)

    def ends(self, path: tuple[str, ...]) -> list[Framework]:
        """The frameworks that were at work in the phase that ends, but in none before."""
        before = self._before.pop(path, None)
        if before is None:
            return []
        new = [framework for framework in self._looked_for() if before.has_worked(framework)]
        tracemalloc.reset_peak()
        self.found.update(dict.fromkeys(new, "/".join(path)))
        return new

    def _looked_for(self) -> Iterator[Framework]:
        return (each for each in FRAMEWORKS if each.loaded and each not in self.found)

    @property
    def names(self) -> str:
        """The frameworks that were at work, as "PyTorch, JAX"."""
        return ", ".join(framework.name for framework in self.found)


@dataclass(frozen=True, slots=True)
class _Before:
    """The state when a phase began."""

    arrays: dict[Framework, list["weakref.ref[Any]"]]
    operations: int

    @classmethod
    def now(cls, frameworks: Iterable[Framework]) -> "_Before":
        found = {each: [weakref.ref(array) for array in _alive(each)] for each in frameworks}
        return cls(found, _noted_by_autograd())

    def has_worked(self, framework: Framework) -> bool:
        """Whether the framework has made an array, or noted an operation, since then."""
        if framework.module == "torch" and _noted_by_autograd() > self.operations:
            return True
        there = {id(ref()) for ref in self.arrays.get(framework, ())}
        return any(id(array) not in there for array in _alive(framework))


def _alive(framework: Framework) -> list[Any]:
    """The framework's arrays that are alive now."""
    objects = gc.get_objects()
    kinds = {kind for kind in set(map(type, objects)) if framework.is_array(kind)}
    return [each for each in objects if type(each) in kinds]


def _noted_by_autograd() -> int:
    """How many operations PyTorch's autograd has noted in this thread; 0 where it does not say."""
    autograd = getattr(getattr(sys.modules.get("torch"), "_C", None), "_autograd", None)
    count = getattr(autograd, "_get_sequence_nr", None)
    return count() if count is not None else 0


def warning_of(framework: Framework, phase: str) -> str:
    """The warning."""
    return (
        f"{framework.name} was at work in the phase {phase!r}: mp.Profiler sees NumPy's buffers "
        f"and Python's objects, and none of the memory of {framework.name}. "
        f"For that, use {framework.instead}"
    )
