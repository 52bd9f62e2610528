"""The arrays that a step of a model takes from a data set."""

import numpy as np

from memprop.data import Dataset
from memprop.graph.losses import LOSSES
from memprop.models.mlp import MLP


def arrays_for(
    model: MLP, data: Dataset, batch: int, mode: str = "train", seed: int = 0
) -> tuple[np.ndarray, ...]:
    """``batch`` samples of ``data``, and in training what the model's loss compares them with.

    For a loss with targets that is a row of zeros with a one at the label.
    """
    x, y = data.batch(batch, seed)
    x = x.astype(model.dtype, copy=False)
    if mode == "inference":
        return (x,)
    return (x, y) if LOSSES[model.loss].labels else (x, np.eye(data.classes, dtype=model.dtype)[y])
