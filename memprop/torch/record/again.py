"""Which operator of the forward pass runs again, told by whoever runs it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple


class Ran(NamedTuple):
    """An operator that a ledger wrote down.

    Attributes:
        recorder: the identity of what it was written into.
        operator: its number there.
    """

    recorder: int
    operator: int


class _Thread(threading.local):
    """Of one thread: what its ledger wrote down last, and what runs again."""

    last: Ran | None = None
    again: object = None


_thread = _Thread()


def noted(ran: Ran | None) -> None:
    """Say which operator was written down last; ``None`` when nothing is written down any more."""
    _thread.last = ran


def last_noted() -> Ran | None:
    """The operator that this thread's ledger wrote down last."""
    return _thread.last


@contextmanager
def running_again(token: object) -> Iterator[None]:
    """What runs inside the block is an operator that ran before: ``last_noted()`` of then."""
    before, _thread.again = _thread.again, (token,)
    try:
        yield
    finally:
        _thread.again = before


def is_running_again() -> bool:
    """Whether an operator runs again."""
    return _thread.again is not None


def number_of_again(recorder: int) -> int | None:
    """The number of the operator that runs again; ``None`` if it ran in another step."""
    token = _thread.again[0] if isinstance(_thread.again, tuple) else None
    return token.operator if isinstance(token, Ran) and token.recorder == recorder else None
