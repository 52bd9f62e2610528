"""What every contender computes: a step of an MLP, on samples that are the same for all."""

import numpy as np

INPUTS, CLASSES = 64, 10


def widths(depth: int, width: int) -> list[int]:
    """Of the input, the hidden layers and the output."""
    return [INPUTS] + [width] * depth + [CLASSES]


def samples(batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Float32 samples ``(batch, inputs)`` and integer labels ``(batch,)``."""
    random = np.random.default_rng(0)
    return random.random((batch, INPUTS), dtype=np.float32), random.integers(0, CLASSES, batch)
