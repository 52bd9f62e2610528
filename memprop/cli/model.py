"""The model that the options of a command describe."""

from dataclasses import dataclass
from typing import Any

from memprop.checks import check_integer_from_zero, check_positive_integer
from memprop.data import Dataset, load_data
from memprop.models.mlp import MLP
from memprop.units import format_bytes


@dataclass(frozen=True)
class Described:
    """A model, and the data that its input and output widths come from."""

    model: MLP
    data: Dataset


def described(*, depth: int, width: int, data: str, **options: Any) -> Described:
    """The MLP with ``depth`` hidden layers of ``width`` units for ``data``.

    Args:
        depth: hidden layers.
        width: units of each.
        data: "digits" or a path.
        options: those of :class:`memprop.MLP`, by name.

    Raises:
        MempropError: an option has an impossible value.
    """
    check_integer_from_zero("depth", depth)
    check_positive_integer("width", width)
    dataset = load_data(data)
    widths = [dataset.features, *[width] * depth, dataset.classes]
    return Described(MLP(widths, **options), dataset)


def check_room(peak_bytes: int) -> None:
    """Refuse to run a step for which this machine has no memory.

    Raises:
        MemoryError: the peak exceeds the memory that is available now.
    """
    from memprop.sweep.room import free_bytes

    room_bytes = free_bytes()
    if peak_bytes > room_bytes:
        raise MemoryError(
            f"the step would take {format_bytes(peak_bytes)}, and {format_bytes(room_bytes)} are "
            "free here: `memprop simulate` tells the largest batch that fits"
        )
