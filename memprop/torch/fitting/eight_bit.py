"""AdamW with a state of eight bits, as far as its memory goes."""

from collections.abc import Callable, Iterable
from typing import Any, Final

import torch

_BLOCK: Final = 256
"""Values that share a scale."""
_SMALLEST: Final = 4096
"""Parameters with fewer values keep a state of 32 bits."""
_CODES: Final = 256


class AdamW8bit(torch.optim.Optimizer):
    """Has the state of ``AdamW8bit`` of bitsandbytes, and changes no parameter.

    For each of the two moments of a parameter: a byte for every value, a float32 for every 256 of
    them; two tables of 256 float32 that all parameters share. Its kernel updates in place and takes
    nothing for itself. (bitsandbytes/optim/optimizer.py, ``Optimizer2State.init_state``.)

    Args:
        params: as of :class:`torch.optim.AdamW`.
    """

    def __init__(self, params: Iterable[Any]) -> None:
        super().__init__(params, {})
        self._tables: list[torch.Tensor] = []

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Make the state of parameters that have a gradient for the first time."""
        del closure  # a simulated step gives none
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and not self.state[parameter]:
                    self.state[parameter] = self._state_of(parameter)

    def _state_of(self, parameter: torch.Tensor) -> dict[str, torch.Tensor]:
        if parameter.numel() < _SMALLEST:
            return {
                name: torch.zeros_like(parameter, dtype=torch.float32)
                for name in ("state1", "state2")
            }
        if not self._tables:
            wide = {"dtype": torch.float32, "device": parameter.device}
            self._tables = [torch.empty(_CODES, **wide) for _ in range(2)]
        state: dict[str, torch.Tensor] = {
            f"qmap{place}": table for place, table in enumerate(self._tables, 1)
        }
        for moment in "12":
            state[f"state{moment}"] = torch.zeros_like(parameter, dtype=torch.uint8)
            blocks = -(-parameter.numel() // _BLOCK)
            state[f"absmax{moment}"] = parameter.new_zeros(blocks, dtype=torch.float32)
        return state
