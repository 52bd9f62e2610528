"""The model that a trial trains, and how its step is made."""

from typing import Any

from memprop.models.mlp import MLP
from memprop.sweep.plan import Trial


def model_of(trial: Trial, features: int, classes: int) -> MLP:
    """The model that ``trial`` trains, for data of so many features and classes."""
    return MLP(
        [features, *[trial.width] * trial.depth, classes],
        activation=trial.activation,
        bias=trial.bias,
        loss=trial.loss,
        l2=trial.l2,
        dtype=trial.dtype,
        dropout=trial.dropout,
        dropout_mask=trial.dropout_mask,
        norm=trial.norm,
        residual=trial.residual,
        seed=trial.seed,
    )


def how(trial: Trial) -> dict[str, Any]:
    """The arguments of a step, and of its prediction."""
    return {
        "schedule": trial.schedule,
        "mode": trial.mode,
        "optimizer": trial.optimizer,
        "update": trial.update,
    }
