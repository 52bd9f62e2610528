"""Named things of one kind, each registered by the file that defines it.

Whatever offers a choice by name (an argument, an option of the command line, an axis of a sweep, a
matrix of tests) reads a registry, so a new entry is one file and its line of registration.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

from memprop.errors import InvalidTypeError, RegistrationError, unknown_name

T = TypeVar("T")


class Registry(Generic[T], Mapping[str, T]):
    """Entries of one kind by name, in the order in which they were registered.

    Args:
        kind: what an entry is, as in "unknown activation 'rleu'".
        name_of: from an entry to its name.
        check: raises if an entry does not belong here.
    """

    def __init__(
        self,
        kind: str,
        name_of: Callable[[T], str],
        check: Callable[[T], object] = lambda _: None,
    ) -> None:
        self.kind = kind
        self._name_of = name_of
        self._check = check
        self._entries: dict[str, T] = {}

    def add(self, entry: T) -> None:
        """Enter ``entry``.

        Raises:
            RegistrationError: its name is taken by another entry.
        """
        name = self._name_of(entry)
        if not isinstance(name, str) or not name.isidentifier():
            raise RegistrationError(
                f"the name of {_article(self.kind)} must be a Python identifier, got {name!r}"
            )
        if name in self._entries:
            raise RegistrationError(
                f"{_article(self.kind)} named {name!r} is registered already: choose another name"
            )
        self._check(entry)
        self._entries[name] = entry

    def remove(self, name: str) -> None:
        """Forget the entry of that name.

        Raises:
            UnknownNameError: there is none.
        """
        self[name]
        del self._entries[name]

    def __getitem__(self, name: str) -> T:
        """The entry of that name.

        Raises:
            UnknownNameError: there is none; the message lists the known and suggests the nearest.
        """
        try:
            return self._entries[name]
        except (KeyError, TypeError):
            raise unknown_name(self.kind, name, self._entries) from None

    def get(self, name: str, default: T | None = None) -> T | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The entry of that name, or ``default``."""
        return self._entries.get(name, default)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"<Registry of {self.kind}: {', '.join(self._entries)}>"


def _article(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def register(*entries: object) -> None:
    """Make operators, activations, losses, optimizers, strategies and their like known by name.

    What is registered is from then on treated like memprop's own: it can be named wherever a name
    is taken, in Python, on the command line and in a sweep.

    Args:
        entries: each a :class:`memprop.Rule`, or a subclass of :class:`memprop.Activation`,
            :class:`memprop.Loss` or :class:`memprop.Optimizer`, or a :class:`memprop.Strategy`.

    Raises:
        RegistrationError: a name is taken already.
        InvalidTypeError: an entry is none of these.

    A softsign, h = z / (1 + |z|), whose derivative is (1 - |h|)^2::

        from functools import partial

        import numpy as np

        import memprop as mp

        def forward(z, h):
            yield partial(np.abs, z, h)
            yield partial(np.add, h, np.ones((), h.dtype), h)
            yield partial(np.divide, z, h, h)

        def backward(dh, h, dz):
            yield partial(np.abs, h, dz)
            yield partial(np.subtract, np.ones((), h.dtype), dz, dz)
            yield partial(np.multiply, dz, dz, dz)
            yield partial(np.multiply, dz, dh, dz)

        class Softsign(mp.Activation):
            rule = "softsign"

        mp.register(
            mp.elementwise(
                "softsign",
                forward,
                flops=3,
                backward="softsign_backward",
                backward_reads="h",
                in_place=False,
            ),
            mp.elementwise_backward("softsign_backward", backward, flops=4, reads="h"),
            Softsign,
        )
        mp.check_operator("softsign")
        model = mp.MLP([64, 256, 10], activation="softsign")
    """
    for entry in entries:
        registry = getattr(entry, "registry", None)
        if not isinstance(registry, Registry):
            raise InvalidTypeError(
                "mp.register takes a Rule, a Strategy, or a subclass of Activation, Loss or "
                f"Optimizer, got {entry!r}"
            )
        registry.add(entry)
