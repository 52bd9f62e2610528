"""The state in which a step starts."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from memprop.torch.ambient import random_states, set_random_states
from memprop.torch.reach import Reach, Snapshot


@dataclass(frozen=True)
class Start:
    """What a step may change, beside the numbers in tensors.

    Attributes:
        places: what the module, its inputs and the loss hold.
        random: the states of the generators of Python, NumPy and PyTorch.
        optimizer: the optimizer, if there is one.
        state: of the optimizer.
    """

    places: Snapshot
    random: tuple[object, ...]
    optimizer: torch.optim.Optimizer | None
    state: dict[Any, dict[str, Any]]

    @classmethod
    def now(cls, *parts: Any, optimizer: object = None) -> "Start":
        """What the parts of a step hold now."""
        places = Reach()([("", part) for part in parts])
        own = optimizer if isinstance(optimizer, torch.optim.Optimizer) else None
        state = {p: dict(s) for p, s in own.state.items()} if own is not None else {}
        with torch._C._DisableTorchDispatch():
            numbers = (*random_states(), torch.get_rng_state())
        return cls(Snapshot.of(places), numbers, own, state)

    def put_back(self) -> None:
        """Make everything hold that again."""
        self.places.put_back()
        set_random_states(self.random)
        with torch._C._DisableTorchDispatch():
            torch.set_rng_state(self.random[-1])  # pyright: ignore[reportArgumentType]
        if self.optimizer is not None:
            state = {p: dict(s) for p, s in self.state.items()}
            self.optimizer.state = defaultdict(dict, state)


@contextmanager
def left_as_it_was(*parts: Any) -> Iterator[None]:
    """Put back what happens to the parts of a step inside the block."""
    start = Start.now(*parts)
    try:
        yield
    finally:
        start.put_back()
