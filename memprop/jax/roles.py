"""Which argument of a training step is what, and which result takes its place."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import jax

from memprop.errors import InvalidTypeError, InvalidValueError
from memprop.jax.arguments import Argument

PARAMETERS: Final = frozenset({"params", "parameters", "weights"})
"""Parts of arguments so named are parameters, if nothing is said."""

STATES: Final = frozenset({"opt_state", "optimizer_state"})
"""Parts so named are the state of an optimizer, as is whatever is of a type of optax."""

Place = str | int
"""An argument by its position, or an argument or a part of it by its name in the trace."""


@dataclass(frozen=True)
class Roles:
    """The category of each leaf of the arguments.

    Attributes:
        names: "state.params['w']", as in the trace.
        categories: parameter, optimizer_state, input.
    """

    names: tuple[str, ...]
    categories: tuple[str, ...]


def roles(
    found: Sequence[Argument],
    args: Sequence[Any],
    parameters: Place | Sequence[Place] | None,
    optimizer_state: Place | Sequence[Place] | None,
) -> Roles:
    """The roles of the leaves of ``args``: as the caller says, else by their names and types.

    Args:
        found: the leaves of the arguments.
        args: the arguments.
        parameters: which are parameters.
        optimizer_state: which are the state of an optimizer.

    Raises:
        InvalidTypeError: a place is neither a name nor a position.
        InvalidValueError: there is no such argument, nothing is a parameter, or something is
            parameter and state.
    """
    names = [argument.name for argument in found]
    guessed = _guessed(names, args)
    given = {
        "parameter": _told("parameters", parameters, names, args),
        "optimizer_state": _told("optimizer_state", optimizer_state, names, args),
    }
    both = (given["parameter"] or set()) & (given["optimizer_state"] or set())
    if both:
        raise InvalidValueError(
            f"{names[min(both)]} is named both as a parameter and as optimizer state"
        )
    categories = [_category(number, guess, given) for number, guess in enumerate(guessed)]
    if "parameter" not in categories:
        raise InvalidValueError(
            f"no argument is named {', '.join(sorted(PARAMETERS))}: say which are parameters, as "
            f"parameters=0 or parameters={_tops(names)[0]!r} (there are {', '.join(_tops(names))})"
        )
    return Roles(tuple(names), tuple(categories))


def _category(number: int, guess: str, given: dict[str, set[int] | None]) -> str:
    """The category that the caller gave to a leaf; a guess where the caller gave none."""
    for category, numbers in given.items():
        if numbers is not None and number in numbers:
            return category
    return guess if given.get(guess) is None else "input"


def _told(
    option: str, places: Place | Sequence[Place] | None, names: Sequence[str], args: Sequence[Any]
) -> set[int] | None:
    """The numbers of the leaves at these places; ``None`` if the caller gave none."""
    if places is None:
        return None
    several = places if isinstance(places, Sequence) and not isinstance(places, str) else (places,)
    return {number for place in several for number in _leaves_at(option, place, names, args)}


def _leaves_at(
    option: str, place: Place, names: Sequence[str], args: Sequence[Any]
) -> Iterable[int]:
    if isinstance(place, int):
        counts = [len(jax.tree.leaves(arg)) for arg in args]
        if not -len(args) <= place < len(args):
            raise InvalidValueError(f"{option}={place}, but step is given {len(args)} arguments")
        first = sum(counts[: place % len(args)])
        return range(first, first + counts[place])
    if not isinstance(place, str):
        raise InvalidTypeError(f"{option} must be names or positions of arguments, got {place!r}")
    numbers = [number for number, name in enumerate(names) if _is_at(name, place)]
    if not numbers:
        raise InvalidValueError(
            f"{option}={place!r} is no argument and no part of one with arrays: there are "
            f"{', '.join(_tops(names))}"
        )
    return numbers


def _is_at(name: str, place: str) -> bool:
    """Whether a leaf is the place, or in it: "state.params" holds "state.params['w']"."""
    return name == place or (name.startswith(place) and name[len(place)] in ".[")


def _tops(names: Iterable[str]) -> list[str]:
    """The names of the arguments themselves."""
    return list(dict.fromkeys(name.split(".")[0].split("[")[0] for name in names))


def _guessed(names: Sequence[str], args: Sequence[Any]) -> list[str]:
    """By the outermost part of its name that says something, or by a type of optax around it."""
    in_optax = _in_types_of("optax", args)
    return [
        "optimizer_state" if number in in_optax else _by_name(name)
        for number, name in enumerate(names)
    ]


def _by_name(name: str) -> str:
    for part in name.replace("[", ".").replace("]", "").split("."):
        word = part.strip("'\"")
        if word in STATES:
            return "optimizer_state"
        if word in PARAMETERS:
            return "parameter"
    return "input"


def _in_types_of(package: str, args: Sequence[Any]) -> set[int]:
    """The numbers of the leaves inside of objects whose class is of a package."""

    def is_of(node: Any) -> bool:
        return type(node).__module__.split(".")[0] == package

    found, number = set[int](), 0
    for node in jax.tree.leaves(tuple(args), is_leaf=is_of):
        count = len(jax.tree.leaves(node))
        if is_of(node):
            found.update(range(number, number + count))
        number += count
    return found


def replaced(
    args: Sequence[Any], result: Any, roles: Roles, may_replace: Callable[[int], bool]
) -> dict[int, int]:
    """For leaves of a result the leaf of the arguments whose place they take.

    A part of the result takes the place of the first part of the arguments, holding parameters or
    state, that has the same structure, shapes and dtypes and whose place is not yet taken.

    Args:
        args: the arguments.
        result: what the step returns, with shapes for leaves.
        roles: the categories of the arguments' leaves.
        may_replace: whether a leaf of the result, by its number, may be something renewed.
    """
    wanted = {number for number, each in enumerate(roles.categories) if each != "input"}
    parts = [
        (part, leaves)
        for part, leaves in _parts(tuple(args))
        if leaves and wanted.issuperset(leaves)
    ]
    found: dict[int, int] = {}
    skip: set[int] = set()
    for part, leaves in _parts(result):
        if not leaves or skip.intersection(leaves) or not all(map(may_replace, leaves)):
            continue
        taken = set(found.values())
        for old, places in parts:
            if taken.isdisjoint(places) and _same(part, old):
                found.update(zip(leaves, places, strict=True))
                skip.update(leaves)
                break
    return found


def _parts(tree: Any) -> list[tuple[Any, range]]:
    """Every part of a tree, the whole first, with the numbers of its leaves."""
    found: list[tuple[Any, range]] = []

    def visit(node: Any, first: int) -> int:
        count = len(jax.tree.leaves(node))
        found.append((node, range(first, first + count)))
        children = jax.tree.leaves(node, is_leaf=lambda each: each is not node)
        if not (len(children) == 1 and children[0] is node):
            for child in children:
                first = visit(child, first)
            return first
        return first + count

    visit(tree, 0)
    return found


def _same(one: Any, other: Any) -> bool:
    return jax.tree.structure(one) == jax.tree.structure(other) and _types(one) == _types(other)


def _types(tree: Any) -> list[tuple[Any, Any]]:
    return [(tuple(leaf.shape), leaf.dtype) for leaf in map(_shaped, jax.tree.leaves(tree))]


def _shaped(leaf: Any) -> Any:
    return leaf if hasattr(leaf, "dtype") else jax.eval_shape(lambda x: x, leaf)
