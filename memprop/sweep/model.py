"""The model that is trained at a point, and how its step is made."""

from memprop.engine.options import StepOptions
from memprop.models.mlp import MLP
from memprop.sweep.axes import TABLE
from memprop.sweep.plan import Point


def model_of(point: Point, features: int, classes: int) -> MLP:
    """The model that is trained at ``point``, for data of so many features and classes."""
    options = {axis.name: getattr(point, axis.name) for axis in TABLE if axis.of_model}
    widths = [features, *[point.width] * point.depth, classes]
    return MLP(widths, **options, seed=point.seed)


def step_options(point: Point) -> StepOptions:
    """How a step at ``point`` is done."""
    return StepOptions(
        schedule=point.schedule,
        mode=point.mode,
        optimizer=point.optimizer,
        update=point.update,
    )
