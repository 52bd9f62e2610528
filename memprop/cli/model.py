"""The model that the options of a command describe."""

from dataclasses import dataclass

from memprop.data import Dataset, load_data
from memprop.errors import InvalidValueError
from memprop.models.mlp import MLP
from memprop.units import format_bytes


@dataclass(frozen=True)
class Described:
    """A model, and the data that its input and output widths come from."""

    model: MLP
    data: Dataset


def described(
    *,
    depth: int,
    width: int,
    data: str,
    activation: str,
    loss: str,
    bias: bool,
    l2: float,
    dtype: str,
    dropout: float,
    dropout_mask: str,
    norm: str,
    residual: bool,
    seed: int,
) -> Described:
    """The MLP with ``depth`` hidden layers of ``width`` units for ``data``.

    Raises:
        MempropError: an option has an impossible value.
    """
    if depth < 0:
        raise InvalidValueError(f"depth must be an integer of at least 0, got {depth}")
    if width < 1:
        raise InvalidValueError(f"width must be a positive integer, got {width}")
    dataset = load_data(data)
    model = MLP(
        [dataset.features, *[width] * depth, dataset.classes],
        activation=activation,
        loss=loss,
        bias=bias,
        l2=l2,
        dtype=dtype,
        dropout=dropout,
        dropout_mask=dropout_mask,
        norm=norm,
        residual=residual,
        seed=seed,
    )
    return Described(model, dataset)


def check_room(peak_bytes: int) -> None:
    """Refuse to run what this machine has no memory for.

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
