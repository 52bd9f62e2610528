"""The model that a trial trains, and how its step is made."""

from memprop.engine.options import StepOptions
from memprop.models.mlp import MLP
from memprop.sweep.axes import TABLE
from memprop.sweep.plan import Trial


def model_of(trial: Trial, features: int, classes: int) -> MLP:
    """The model that ``trial`` trains, for data of so many features and classes."""
    options = {axis.name: getattr(trial, axis.name) for axis in TABLE if axis.of_model}
    widths = [features, *[trial.width] * trial.depth, classes]
    return MLP(widths, **options, seed=trial.seed)


def step_options(trial: Trial) -> StepOptions:
    """How the step of a trial is done."""
    return StepOptions(
        schedule=trial.schedule,
        mode=trial.mode,
        optimizer=trial.optimizer,
        update=trial.update,
    )
