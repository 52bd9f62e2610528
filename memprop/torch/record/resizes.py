"""Storages that a program makes larger or smaller: FSDP2 empties its buffers that way."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch


@contextmanager
def told_of_resizes(tell: Callable[[torch.UntypedStorage], None]) -> Iterator[None]:
    """Call ``tell`` with each storage whose size changed, inside the block.

    No operator does this, so a dispatch mode does not see it.
    """
    resize: Any = torch.UntypedStorage.resize_

    def told(storage: torch.UntypedStorage, size: int) -> Any:
        before = storage.nbytes()
        result = resize(storage, size)
        if storage.nbytes() != before:
            tell(storage)
        return result

    with patch.object(torch.UntypedStorage, "resize_", told):
        yield


def all_of(storage: torch.UntypedStorage) -> torch.Tensor:
    """A storage as a tensor of bytes."""
    with torch._C._DisableTorchDispatch():
        return torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)
