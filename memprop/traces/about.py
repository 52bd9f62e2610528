"""What a trace says of the step it is of: one schema, whatever made the trace."""

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Final

from memprop.errors import InvalidTypeError, InvalidValueError

RUNS: Final = ("real", "simulated")


@dataclass(frozen=True, kw_only=True, eq=False)
class About(Mapping[str, str | int | float]):
    """What was run, and how: a mapping of the entries that are known, in this order.

    An entry is read as ``about["batch"]`` or ``about.get("batch")``, or as the attribute
    ``about.batch``, which is ``None`` where it is not known.

    Attributes:
        framework: what ran or predicted the step: "memprop" (its own engine), "numpy" (watched by
            :class:`memprop.Profiler`), "torch" or "jax".
        version: of the framework.
        run: "real" if the step was run, "simulated" if it was predicted.
        device: where it runs: "cpu", "cuda:0", or a platform of JAX.
        gpu: the GPU whose ways a simulated step takes, as "h100".
        allocated_peak: the most bytes of allocated blocks that CUDA's own allocator counted in a
            step that was run.
        reserved_peak: the most bytes that it had reserved.
        model: the class of the module, of PyTorch.
        function: the name of the function, of JAX.
        mode: "train" or "inference".
        schedule: by name, of a model of memprop.
        batch: samples of the step.
        optimizer: the class or the name of the optimizer; "none" without one.
        update: when the optimizer updates: one of :data:`memprop.terms.UPDATES`.
        allocator: "heap" or "arena", of the engine.
        flops: floating-point operations of the step.
        recomputed_flops: those of them that are done again.
        source: "watched" or "tracemalloc": where the profiler has the numbers from.
        unseen: frameworks that were at work while the profiler watched, and that it cannot see.
        unknown_kernels: operators whose kernels take bytes on that GPU that nothing is known of,
            and that are counted as 0.
        open: the path of the phase that had not ended yet.
        more: further entries, such as ``compiled_temp_bytes``, which XLA's compiler gives for a
            step of JAX (the others are listed at :func:`memprop.jax.compiled_memory`).

    Raises:
        InvalidTypeError: a value is neither a string nor a number.
        InvalidValueError: ``run`` is neither "real" nor "simulated".
    """

    framework: str | None = None
    version: str | None = None
    run: str | None = None
    device: str | None = None
    gpu: str | None = None
    allocated_peak: int | None = None
    reserved_peak: int | None = None
    model: str | None = None
    function: str | None = None
    mode: str | None = None
    schedule: str | None = None
    batch: int | None = None
    optimizer: str | None = None
    update: str | None = None
    allocator: str | None = None
    flops: int | None = None
    recomputed_flops: int | None = None
    source: str | None = None
    unseen: str | None = None
    unknown_kernels: str | None = None
    open: str | None = None
    more: Mapping[str, str | int | float] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        if self.run not in (None, *RUNS):
            raise InvalidValueError(f"run must be one of {', '.join(RUNS)}, got {self.run!r}")
        for key, value in self.items():
            if not isinstance(value, str | int | float):
                raise InvalidTypeError(
                    f"what a trace says of its step must be strings and numbers, got {value!r} "
                    f"for {key!r}"
                )

    @classmethod
    def of(cls, entries: Mapping[str, Any]) -> "About":
        """The same as ``entries``; those that are not in the schema become ``more``."""
        if isinstance(entries, About):
            return entries
        known = {key: entries[key] for key in _KEYS if key in entries}
        more = {str(key): value for key, value in entries.items() if key not in known}
        return cls(**known, more=MappingProxyType(more))

    def __getitem__(self, key: str) -> str | int | float:
        value = getattr(self, key) if key in _KEYS else None
        if value is not None:
            return value
        if key in _RENAMED and key not in self.more:
            return self._renamed(key)
        return self.more[key]

    def _renamed(self, key: str) -> str | int | float:
        """The value of an entry under the name that it had in the first version."""
        new = _RENAMED[key]
        value = self[new]
        warnings.warn(
            f"the entry {key!r} of a trace's about is called {new!r} now",
            DeprecationWarning,
            stacklevel=3,
        )
        return value == "simulated" if key == "simulated" else value

    def __iter__(self) -> Iterator[str]:
        yield from (key for key in _KEYS if getattr(self, key) is not None)
        yield from self.more

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return repr(dict(self))


_KEYS: Final = tuple(entry.name for entry in fields(About) if entry.name != "more")
_RENAMED: Final = MappingProxyType({"simulated": "run", "platform": "device"})


def upgraded(entries: Mapping[str, Any]) -> dict[str, Any]:
    """Entries as files of the trace schema 1 have them, in the words of today."""
    found = dict(entries)
    if "simulated" in found:
        found["run"] = RUNS[bool(found.pop("simulated"))]
    if "platform" in found:
        found["device"] = found.pop("platform")
    if "schedule" in found:
        found = {"framework": "memprop", "device": "cpu", **found}
    if found.get("framework") == "numpy":
        found = {"run": "real", "device": "cpu", **found}
    if found.get("framework") == "jax":
        found = {"run": "simulated", **found}
    return found
