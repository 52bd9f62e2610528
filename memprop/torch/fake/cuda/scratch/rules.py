"""Rules of what kernels take for themselves, and what they are written with.

A rule gives the buffers that live beside the results where a kernel needs most, in bytes and in the
order in which they are allocated. Rules are read from PyTorch's source (2.11), whose file each one
names; those in ``cudnn.py`` are fitted to what an H100 did, and are guesses.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import torch

from memprop.cuda.gpus import GPU

AND_THEN: Final = -1
"""What a rule yields between the buffers of one part of a call and those of the next."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of an operator.

    Attributes:
        gpu: where it runs.
        given: its arguments by name.
        made: what it returned.
    """

    gpu: GPU
    given: dict[str, Any]
    made: Any

    def __getitem__(self, name: str) -> Any:
        return self.given[name]


Rule = Callable[[Call], Iterator[int]]


class Rules(dict[Any, Rule]):
    """Rules by operator."""

    def of(self, *operators: Any) -> Callable[[Rule], Rule]:
        """Note that the function below is the rule of these operators."""

        def register(rule: Rule) -> Rule:
            self.update(dict.fromkeys(operators, rule))
            return rule

        return register


def bytes_of(tensor: torch.Tensor, itemsize: int | None = None) -> int:
    """Bytes of the elements of a tensor, or of as many elements of another size."""
    return tensor.numel() * (itemsize or tensor.element_size())


def bytes_of_copy(tensor: torch.Tensor) -> int:
    """Bytes of the copy that a kernel makes of an operand that is not contiguous."""
    return 0 if tensor.is_contiguous() else bytes_of(tensor)


def channels_are_last(tensor: torch.Tensor) -> bool:
    """Whether batch norm takes channels to lie last (``batch_norm_choose_impl``)."""
    if tensor.is_contiguous():
        return tensor.dim() > 1 and tensor.stride(1) == 1
    return tensor.dim() in (4, 5) and tensor.stride(1) == 1
