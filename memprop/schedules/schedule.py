"""What is done, in which order: a schedule is a flat tuple of actions over a graph."""

import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, SupportsIndex

from memprop.errors import ScheduleError
from memprop.graph.graph import Graph
from memprop.graph.picture import DEFAULT_BATCH
from memprop.schedules.actions import Action, Compute
from memprop.schedules.live import OnDisk, bytes_on_disk, live_bytes
from memprop.schedules.same import Same
from memprop.schedules.work import Work, work_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from memprop.graph.picture.build import Marks


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A training step as a list of things to do.

    Attributes:
        name: how a user names it, as "lean".
        graph: the step that the actions belong to.
        actions: in the order in which they are done.
        micro_batches: into how many equal micro-batches the step takes its batch; the batch size
            that stands in the shapes of ``graph`` is that of a micro-batch.
        batch: the samples of a step that :attr:`peak` and :attr:`flops` are given for; ``None``
            where none was named. The actions can be run with another number as well.
        folder: where on disk variables are stored; ``None`` if none is.
    """

    name: str
    graph: Graph
    actions: tuple[Action, ...]
    micro_batches: int = 1
    batch: int | None = None
    folder: str | None = None

    def __str__(self) -> str:
        return "\n".join(f"{n:5d}  {action}" for n, action in enumerate(self.actions))

    @property
    def slices(self) -> int:
        """The old name of ``micro_batches``; it warns."""
        warnings.warn(
            "Schedule.slices is called Schedule.micro_batches now",
            DeprecationWarning,
            stacklevel=2,
        )
        return self.micro_batches

    def computes(self) -> Iterator[Compute]:
        """The actions that run an operator."""
        return (action for action in self.actions if isinstance(action, Compute))

    @property
    def peak(self) -> int:
        """The peak of a step of :attr:`batch` samples, in bytes."""
        return self.peak_at(self._batch())

    @property
    def disk_peak(self) -> int:
        """The most bytes of such a step that lie on disk at one time."""
        return self._on_disk.peak

    @property
    def moved_bytes(self) -> int:
        """The bytes that such a step writes to disk and reads from there, together."""
        return self._on_disk.moved

    @property
    def flops(self) -> int:
        """Floating-point operations of such a step, those of recomputation included."""
        return self.flops_at(self._batch())

    @property
    def recomputed_flops(self) -> int:
        """Floating-point operations of such a step that are recomputations."""
        return self.recomputed_flops_at(self._batch())

    def peak_at(self, batch: int) -> int:
        """The peak of a step of ``batch`` samples, in bytes."""
        return live_bytes(self.graph, self.actions, batch // self.micro_batches).peak

    def flops_at(self, batch: int) -> int:
        """Floating-point operations of a step of ``batch`` samples."""
        return self._work.once.at(batch // self.micro_batches) + self.recomputed_flops_at(batch)

    def recomputed_flops_at(self, batch: int) -> int:
        """Floating-point operations beyond the first run of each operator."""
        return self._work.again.at(batch // self.micro_batches)

    @property
    def marks(self) -> "Marks":
        """How often each operator is computed, and which variables are cached."""
        from memprop.schedules.marks import marks_of

        return marks_of(self.graph, self.actions)

    def draw(
        self,
        path: str | os.PathLike[str] | None = None,
        ax: "Axes | None" = None,
        *,
        backward: bool = True,
        fold: bool = True,
        batch: SupportsIndex | None = None,
        format: str | None = None,  # noqa: A002 - what users of matplotlib type
    ) -> "Axes":
        """Draw the step, with marks on what is cached and on what is computed again.

        Arguments and errors are those of :meth:`memprop.Graph.draw`; ``batch`` is that of the
        schedule if it is not given.
        """
        return self.graph.draw(
            path,
            ax,
            backward=backward,
            fold=fold,
            batch=batch or self.batch or DEFAULT_BATCH,
            schedule=self,
            format=format,
        )

    @property
    def _on_disk(self) -> OnDisk:
        return bytes_on_disk(self.graph, self.actions, self._batch() // self.micro_batches)

    @property
    def _work(self) -> Work:
        return work_of(Same(self.graph, self.actions))

    def _batch(self) -> int:
        if self.batch is None:
            raise ScheduleError(
                f"the schedule {self.name!r} was made for no batch size: "
                "use mp.schedule(model, batch=...), or peak_at(batch)"
            )
        return self.batch
