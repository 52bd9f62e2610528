"""What a strategy is, and the registry of all strategies."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from memprop.errors import InvalidValueError
from memprop.graph.graph import Graph, Operator
from memprop.graph.optimizers import Optimizer
from memprop.registry import Registry
from memprop.schedules.recompute import Order, in_that_order
from memprop.schedules.schedule import Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a strategy is asked for.

    Attributes:
        name: how the schedule is called.
        argument: what stands behind the colon of the name, read; ``None`` if there is none.
        forward: the forward pass of a model.
        optimizer: updates the parameters.
        update: when it does; one of :data:`memprop.terms.UPDATES`.
        batch: samples of the step; ``None`` unless the strategy depends on them.
        micro_batches: into how many micro-batches the batch is taken.
    """

    name: str
    argument: Any
    forward: Graph
    optimizer: Optimizer | None
    update: str
    batch: int | None
    micro_batches: int


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """A way to decide which operators of a training step run when, and which run again.

    Either ``order`` or ``plan`` says how. Values are freed at their last use, so an order settles
    everything else.

    Attributes:
        name: how users name it, before the colon.
        order: called with the graph of the training step, and with the number if there is one;
            returns the operators in the order in which they run, a repeated one each time.
        plan: makes the whole schedule, for strategies that are no order of a training step.
        number: the letter or word that stands for the number in messages, as "k" in "every:k"; ""
            if there is none.
        counts: what the number counts, as "layers in a segment".
        read: from the text behind the colon to what ``order`` is called with; a positive integer is
            read if it is ``None``.
        example: a number to try it with.
        depends_on_batch: whether the order depends on the batch size.
        keeps_gradients: whether it keeps the gradients of parameters to the end of the step, so
            that no parameter can be updated in the backward pass.
        verbatim: whether what stands behind the colon is a text of the user's, such as a path, in
            which spaces and ``+`` mean themselves.
        whole_because: why micro-batches of the batch would save nothing; "" if they may.

    Raises:
        InvalidValueError: there is neither an order nor a plan, or both.

    A strategy of three segments, whatever the number of layers::

        import math

        import memprop as mp
        from memprop.schedules.every import every
        from memprop.schedules.stages import layers

        def thirds(graph):
            return every(graph, math.ceil(len(layers(graph)) / 3))

        mp.register(mp.Strategy(name="thirds", order=thirds))
        mp.simulate(mp.MLP([64] * 20), batch=128, schedule="thirds").peak
    """

    registry: ClassVar["Registry[Strategy]"]

    name: str
    order: Callable[..., Sequence[Operator]] | None = None
    plan: Callable[[Request], Schedule] | None = None
    number: str = ""
    counts: str = ""
    read: Callable[[str], Any] | None = None
    example: str = "2"
    depends_on_batch: bool = False
    keeps_gradients: bool = False
    verbatim: bool = False
    whole_because: str = ""

    def __post_init__(self) -> None:
        if (self.order is None) == (self.plan is None):
            raise InvalidValueError(f"the strategy {self.name!r} needs either an order or a plan")

    @property
    def written(self) -> str:
        """How users write it, as "every:k"."""
        return f"{self.name}:{self.number}" if self.number else self.name

    @property
    def example_name(self) -> str:
        """A name that can be planned, as "every:2"."""
        return f"{self.name}:{self.example}" if self.number else self.name

    def schedule(self, request: Request) -> Schedule:
        """The schedule that is asked for."""
        if self.order is None:
            assert self.plan is not None  # noqa: S101 - checked when it was made
            return self.plan(request)
        order = self.order if request.argument is None else _with(self.order, request.argument)
        return in_that_order(
            request.name,
            order,
            request.forward,
            request.optimizer,
            request.update,
            request.micro_batches,
        )


def _with(order: Callable[..., Sequence[Operator]], number: Any) -> Order:
    return lambda graph: order(graph, number)


STRATEGIES: Final = Registry[Strategy]("schedule", lambda strategy: strategy.name)
"""Every strategy by name."""

Strategy.registry = STRATEGIES


def is_count(text: str, most: int = 2**31 - 1) -> bool:
    """Whether ``text`` is a whole number from 1 to ``most``, which has ten digits at most."""
    digits = text.isascii() and text.isdigit() and len(text.lstrip("0")) <= 10
    return digits and 0 < int(text.lstrip("0") or "0") <= most
