"""A chain of stages: what a planner of recomputation needs to know of a training step.

The memory model is that of rotor (Beaumont, Eyraud-Dubois, Herrmann, Joly, Shilova, "Optimal
checkpointing for heterogeneous chains: how to train deep neural networks with limited memory",
2019). Stages l = 1..n; a_0 is the input, a_l the output of stage l, s_l all that its full forward
keeps (a_l included, a_(l-1) not), d_l the gradient of a_l, as large as a_l. Everything counts, a_0
and d_n from the start.

=======================  ====================================  ================================
action                   needs                                 live while it runs, with the rest
=======================  ====================================  ================================
forward                  a_(l-1), which is dropped afterwards  a_l and the forward workspace
forward keeping input    a_(l-1)                               a_l and the forward workspace
full forward             a_(l-1)                               s_l and the saving workspace
backward                 d_l, s_l, a_(l-1)                     the backward workspace, and what
                                                               it leaves behind
=======================  ====================================  ================================

Where s_(l-1) is live, it contains a_(l-1) and is not dropped with it. Backward leaves d_(l-1) in
the place of a_(l-1), and s_l and d_l are gone. The step ends with d_0.

Two things are added to that model, both 0 unless given. A full forward may need another workspace
than a plain one. And a backward may leave bytes behind until the end of the step, as the gradients
of parameters are; they are negative where it frees what was there from the start.

And a stage may have several ways of its full forward, which keep more or less of what its backward
reads; the backward computes the rest again. That is the idea of Rockmate (Zhao, Le Hellard,
Eyraud-Dubois, Gusak, Beaumont, "Rockmate: an Efficient, Fast, Automatic and Generic Tool for
Re-materialization in PyTorch", ICML 2023). How a stage does that is not known here, nor is it
searched for: a way is four figures.
"""

import math
import operator
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property, wraps
from typing import Any

from memprop.errors import InvalidTypeError, InvalidValueError


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """One way of a stage's full forward, with the backward that goes with it.

    The forward costs the same in every way. Source: Rockmate (Zhao et al., ICML 2023), where they
    are called options. The figures are checked where a :class:`Chain` takes them.

    Attributes:
        saved_bytes: the size of what its full forward keeps, the stage's output included.
        backward_cost: of its backward, with all that is computed again in it; in the chain's unit.
        backward_workspace: bytes that its backward needs while it runs, what is computed again
            included.
        saving_workspace: bytes that its full forward needs while it runs, beyond ``saved_bytes``.

    Example:
        The output alone is kept, and the 2 MiB between are computed again by the backward:

        >>> Way(saved_bytes=2**20, backward_cost=3, backward_workspace=2**21)
        Way(saved_bytes=1048576, backward_cost=3, backward_workspace=2097152, saving_workspace=0)
    """

    saved_bytes: int
    backward_cost: float
    backward_workspace: int = 0
    saving_workspace: int = 0


@dataclass(frozen=True, kw_only=True)
class Chain:
    """A chain of n stages; every sequence has n entries.

    Attributes:
        forward_cost: of each stage's forward, in any unit; a full forward costs the same.
        backward_cost: of each stage's backward, in the same unit.
        input_bytes: the size of a_0.
        output_bytes: the size of each a_l.
        saved_bytes: the size of each s_l, a_l included.
        forward_workspace: bytes that a forward needs while it runs.
        backward_workspace: bytes that a backward needs while it runs.
        saving_workspace: bytes that a full forward needs; those of a forward if not given.
        retained_bytes: bytes that a backward leaves behind until the end; they may be negative.
        ways: of each stage the other ways of its full forward, none or several; the way that the
            sequences above describe is way 0, and no backward may cost less than that of way 0.

    Raises:
        InvalidValueError, InvalidTypeError: an entry is impossible; the message says which.

    Example:
        The second stage can keep its output alone:

        >>> chain = Chain(
        ...     forward_cost=[1, 4],
        ...     backward_cost=[2, 8],
        ...     input_bytes=10,
        ...     output_bytes=[10, 10],
        ...     saved_bytes=[10, 50],
        ...     ways=[[], [Way(saved_bytes=10, backward_cost=11, backward_workspace=40)]],
        ... )
        >>> min(way.saved_bytes for way in chain.ways_of(2))
        10
    """

    forward_cost: Sequence[float]
    backward_cost: Sequence[float]
    input_bytes: int
    output_bytes: Sequence[int]
    saved_bytes: Sequence[int]
    forward_workspace: Sequence[int] = ()
    backward_workspace: Sequence[int] = ()
    saving_workspace: Sequence[int] = ()
    retained_bytes: Sequence[int] = ()
    ways: Sequence[Sequence[Way]] = ()

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.name != "input_bytes":  # an iterator can be read only once
                given = _listed(field.name, getattr(self, field.name))
                object.__setattr__(self, field.name, given)
        stages = len(self.output_bytes)
        if stages == 0:
            raise InvalidValueError("a chain needs at least one stage, got an empty output_bytes")
        object.__setattr__(self, "input_bytes", _size("input_bytes", self.input_bytes))
        for field in fields(self):
            if field.name != "input_bytes":
                object.__setattr__(self, field.name, self._entries(field.name, stages))
        self._check_saved()
        self._check_sums()

    def _check_saved(self) -> None:
        for stage, (saved, output) in enumerate(
            zip(self.saved_bytes, self.output_bytes, strict=True), start=1
        ):
            if saved < output:
                raise InvalidValueError(
                    f"saved_bytes of stage {stage} is {saved}, but it contains the stage's output "
                    f"of {output} bytes"
                )
            for place, way in enumerate(self.ways[stage - 1]):
                self._check_way(f"ways[{stage - 1}][{place}]", stage, way)

    def _check_way(self, name: str, stage: int, way: Way) -> None:
        output, least = self.output_bytes[stage - 1], self.backward_cost[stage - 1]
        if way.saved_bytes < output:
            raise InvalidValueError(
                f"{name}.saved_bytes is {way.saved_bytes}, but it contains the output of stage "
                f"{stage}, {output} bytes"
            )
        if way.backward_cost < least:
            raise InvalidValueError(
                f"{name}.backward_cost is {way.backward_cost}, less than the {least} of "
                f"backward_cost[{stage - 1}]: give the cheapest way of a stage in the chain's own "
                "sequences, and the others in ways"
            )

    def _check_sums(self) -> None:
        others = [way for ways in self.ways for way in ways]
        total = sum(self.sizes) + sum(self.saved_bytes) + sum(map(abs, self.retained_bytes))
        total += sum((*self.forward_workspace, *self.backward_workspace, *self.saving_workspace))
        total += sum(w.saved_bytes + w.backward_workspace + w.saving_workspace for w in others)
        if total >= 2**62:
            raise InvalidValueError(
                f"the sizes of a chain must add up to less than 2^62, not {total}"
            )

        cost = sum((*self.forward_cost, *self.backward_cost, *(w.backward_cost for w in others)))
        if not cost * len(self) < 2.0**1000:  # stages may run again and again
            raise InvalidValueError(f"the costs of a chain must add up to less, not to {cost:g}")

    def __len__(self) -> int:
        return len(self.output_bytes)

    def _entries(self, name: str, stages: int) -> tuple[Any, ...]:
        given = getattr(self, name)
        if not given and name == "saving_workspace":
            given = self.forward_workspace
        if not given and name in _OPTIONAL:
            given = ((),) * stages if name == "ways" else (0,) * stages
        if len(given) != stages:
            raise InvalidValueError(
                f"{name} has {len(given)} entries, but output_bytes has {stages}: "
                "give one for each stage"
            )
        check = _CHECKS.get(name, _size)
        return tuple(check(f"{name}[{place}]", value) for place, value in enumerate(given))

    @property
    def left_bytes(self) -> Sequence[int]:
        """The old name of :attr:`retained_bytes`."""
        _warn_of_old_name()
        return self.retained_bytes

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """The sizes of a_0 to a_n, which are those of d_0 to d_n."""
        return (self.input_bytes, *self.output_bytes)

    def ways_of(self, stage: int) -> tuple[Way, ...]:
        """All ways of a stage's full forward, way 0 first; stages count from 1."""
        return self.every_way[stage - 1]

    @cached_property
    def every_way(self) -> tuple[tuple[Way, ...], ...]:
        """All ways of each stage, way 0 first."""
        first = (
            Way(saved_bytes=s, backward_cost=c, backward_workspace=b, saving_workspace=f)
            for s, c, b, f in zip(
                self.saved_bytes,
                self.backward_cost,
                self.backward_workspace,
                self.saving_workspace,
                strict=True,
            )
        )
        return tuple((own, *others) for own, others in zip(first, self.ways, strict=True))


def _warn_of_old_name() -> None:
    warnings.warn(
        "left_bytes of a Chain is called retained_bytes now", DeprecationWarning, stacklevel=3
    )


def _taking_old_names(init: Callable[..., None]) -> Callable[..., None]:
    """``init`` that takes ``left_bytes`` for ``retained_bytes``, with a warning."""

    @wraps(init)
    def taking(self: Chain, **given: Any) -> None:
        if "left_bytes" in given:
            if "retained_bytes" in given:
                raise InvalidTypeError("give retained_bytes, and not its old name left_bytes too")
            _warn_of_old_name()
            given["retained_bytes"] = given.pop("left_bytes")
        init(self, **given)

    return taking


Chain.__init__ = _taking_old_names(Chain.__init__)

_OPTIONAL = (
    "forward_workspace",
    "backward_workspace",
    "saving_workspace",
    "retained_bytes",
    "ways",
)


def _listed(name: str, values: object) -> tuple[object, ...]:
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise InvalidTypeError(
            f"{name} must be a list with one entry for each stage, got {values!r}"
        )
    return tuple(values)


def _cost(name: str, value: object) -> float:
    if isinstance(value, bool):
        raise InvalidTypeError(f"{name} must be a number, got {value!r}")
    try:
        cost = _exact_or_float(value)
    except (TypeError, ValueError, OverflowError):
        raise InvalidTypeError(f"{name} must be a number, got {value!r}") from None
    if not math.isfinite(cost) or cost < 0:
        raise InvalidValueError(f"{name} must be finite and not negative, got {value!r}")
    return cost


def _exact_or_float(value) -> float:
    try:
        return operator.index(value)
    except TypeError:
        return float(value)


def _size(name: str, value: object) -> int:
    size = _left(name, value)
    if size < 0:
        raise InvalidValueError(f"{name} must be a number of bytes of at least 0, got {size}")
    return size


def _left(name: str, value) -> int:
    if isinstance(value, bool):
        raise InvalidTypeError(f"{name} must be a whole number of bytes, got {value!r}")
    try:
        return operator.index(value)
    except TypeError:
        raise InvalidTypeError(f"{name} must be a whole number of bytes, got {value!r}") from None


def _ways(name: str, values: object) -> tuple[Way, ...]:
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise InvalidTypeError(f"{name} must be a list of mp.Way, got {values!r}")
    return tuple(_way(f"{name}[{place}]", value) for place, value in enumerate(values))


def _way(name: str, value: object) -> Way:
    if not isinstance(value, Way):
        raise InvalidTypeError(f"{name} must be an mp.Way, got {value!r}")
    return Way(
        saved_bytes=_size(f"{name}.saved_bytes", value.saved_bytes),
        backward_cost=_cost(f"{name}.backward_cost", value.backward_cost),
        backward_workspace=_size(f"{name}.backward_workspace", value.backward_workspace),
        saving_workspace=_size(f"{name}.saving_workspace", value.saving_workspace),
    )


_CHECKS: dict[str, Callable[[str, object], Any]] = {
    "forward_cost": _cost,
    "backward_cost": _cost,
    "retained_bytes": _left,
    "ways": _ways,
}
