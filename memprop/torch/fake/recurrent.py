"""The LSTM of oneDNN, which PyTorch runs on a CPU: what it keeps for its backward pass.

The sizes are those of ``set_offsets`` and ``set_workspace_sizes`` in oneDNN's ``rnn_utils``
(https://github.com/uxlfoundation/oneDNN, src/cpu/rnn), for one layer in one direction; which of the
states have which type was found by running it (oneDNN 3.12, 32 and 16 bits).
"""

from typing import Final

_PAGE: Final = 4096
_LINE: Final = 64
_GATES: Final = 4


def workspace_bytes(steps: int, batch: int, inputs: int, hidden: int, itemsize: int) -> int:
    """Bytes that the forward pass of a layer keeps for backward, in addition to its results.

    Args:
        steps: how long the sequences are.
        batch: how many there are.
        inputs: the width of what the layer is given.
        hidden: the width of its state.
        itemsize: bytes of a number of the samples; gradients of states have four.

    >>> workspace_bytes(7, 3, 8, 12, 4)
    28672
    """
    cells, states = steps * batch, 2 * (steps + 1) * batch
    widest = max(inputs, hidden)
    parts = (
        cells * _row(_GATES * hidden, itemsize),
        cells * _row(hidden, itemsize),
        states * _row(widest, itemsize),
        states * hidden * itemsize,
        states * _row(widest, 4),  # from here on gradients
        states * _row(widest, 4),
        states * hidden * 4,
    )
    return sum(_rounded(part, _PAGE) for part in parts)


def _row(width: int, itemsize: int) -> int:
    """Bytes of a row: whole lines of the cache, but no distance at which lines evict each other."""
    row = _rounded(width * itemsize, _LINE)
    return row + _LINE if row // itemsize % 256 == 0 else row


def _rounded(size: int, unit: int) -> int:
    return -(-size // unit) * unit
