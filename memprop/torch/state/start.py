"""The state in which a step starts."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from memprop.torch.state.ambient import (
    random_states,
    set_random_states,
    set_torch_states,
    torch_states,
)
from memprop.torch.state.reach import Reach, Snapshot


@dataclass(frozen=True)
class Start:
    """What a step may change, apart from the numbers in tensors.

    Attributes:
        places: what the module, its inputs and the loss hold.
        random: the states of the generators of Python and NumPy.
        torch_random: those of PyTorch's.
        optimizer: the optimizer, if there is one.
        state: of the optimizer.
    """

    places: Snapshot
    random: tuple[object, ...]
    torch_random: tuple[torch.Tensor, ...]
    optimizer: torch.optim.Optimizer | None
    state: dict[Any, dict[str, Any]]

    @classmethod
    def now(cls, *parts: Any, optimizer: object = None) -> "Start":
        """What the parts of a step hold now."""
        places = Reach()([("", part) for part in parts])
        own = optimizer if isinstance(optimizer, torch.optim.Optimizer) else None
        state = {p: dict(s) for p, s in own.state.items()} if own is not None else {}
        return cls(Snapshot.of(places), random_states(), torch_states(), own, state)

    def put_back(self) -> None:
        """Restore that state."""
        self.places.put_back()
        set_random_states(self.random)
        set_torch_states(self.torch_random)
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
