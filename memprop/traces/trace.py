"""What happened in one training step: the events, in columns, and everything they answer.

A trace knows no graph and no array. Simulation, the engine, and the adapters to other frameworks
all make this one type; every table and figure is a view of it.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from memprop.cuda.settings import AllocatorSettings
from memprop.errors import InvalidValueError, unknown_name
from memprop.files import write_whole
from memprop.terms import CATEGORIES, PERSISTENT, PHASES
from memprop.traces import check, compare, intermediates, io, timeline
from memprop.traces.about import About
from memprop.traces.events import Events, TracedOperator, TracedVariable
from memprop.traces.live import Buffer, LiveBytes, Lives, buffers_at, live_bytes, lives_of
from memprop.traces.requests import Replay, Requests, replay, segment_table, segments_at

if TYPE_CHECKING:
    import matplotlib.axes
    import pandas as pd


@dataclass(frozen=True, kw_only=True, eq=False)
class Trace:
    """The events of one step.

    Attributes:
        events: the raw columns.
        variables: what the events' ``variable`` counts.
        operators: what the events' ``operator`` counts.
        about: what was run, as ``{"schedule": "lean", "batch": 256, "flops": ...}``: see
            :class:`memprop.traces.about.About`. Any mapping of strings and numbers will do.
        outputs: ``{"loss": ..., "gradients": {name: array}}`` of a real step, and "prediction" of
            an inference; ``None`` if the step was simulated, or loaded from a file.
        phases: what the events' ``phase`` counts: :data:`memprop.terms.PHASES`, and after them the
            names that a user gave to further parts of a program.
        requests: what was asked of the allocator of a GPU, from the making of the model on;
            ``None`` where no device has one.
        elsewhere: the same step on the other devices that it uses, by their names.

    Raises:
        TraceFormatError: the events contradict each other.
    """

    events: Events
    variables: tuple[TracedVariable, ...]
    operators: tuple[TracedOperator, ...]
    about: About | Mapping[str, Any] = field(default_factory=About)
    outputs: Mapping[str, Any] | None = field(default=None, repr=False)
    phases: tuple[str, ...] = PHASES
    requests: Requests | None = field(default=None, repr=False)
    elsewhere: "Mapping[str, Trace]" = field(
        default_factory=lambda: MappingProxyType({}), repr=False
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "about", About.of(self.about))
        check.check(self)

    def __repr__(self) -> str:
        what = " ".join(f"{key}={value}" for key, value in self.about.items())
        return f"<Trace {len(self.events)} events, peak {self.peak} bytes; {what}>"

    def __eq__(self, other: object) -> bool:
        """Whether the same happened to the same variables; times and outputs do not count."""
        if not isinstance(other, Trace):
            return NotImplemented
        return (self.events, self.variables, self.operators, self.phases, dict(self.elsewhere)) == (
            other.events,
            other.variables,
            other.operators,
            other.phases,
            dict(other.elsewhere),
        )

    __hash__ = None  # pyright: ignore[reportAssignmentType] - equal by content, as lists are

    @property
    def device(self) -> str:
        """The device whose memory this trace is of."""
        return str(self.about.get("device", "cpu"))

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices on which something lives, that of this trace first."""
        return (self.device, *self.elsewhere)

    def on(self, device: str) -> "Trace":
        """The same step on another of its devices.

        Raises:
            UnknownNameError: nothing lives there.
        """
        if device == self.device:
            return self
        if device not in self.elsewhere:
            raise unknown_name("device of this step", device, self.devices)
        return self.elsewhere[device]

    @cached_property
    def live(self) -> LiveBytes:
        """Live bytes after each event."""
        category_of = [CATEGORIES.index(variable.category) for variable in self.variables]
        return live_bytes(self.events, self.lives, np.array(category_of, dtype=np.int64))

    @cached_property
    def lives(self) -> Lives:
        """The lives of all variables, in columns."""
        return lives_of(self.events)

    def buffers_at(self, event: int) -> list[Buffer]:
        """The buffers that live after ``event``, by birth; their bytes sum to the live bytes."""
        return buffers_at(self.events, self.lives, event)

    @cached_property
    def peak_event(self) -> int:
        """The number of the first event at which live bytes are largest."""
        return int(np.argmax(self.live.total))

    @property
    def peak(self) -> int:
        """The largest live bytes."""
        return int(self.live.total[self.peak_event])

    def peak_by_category(self) -> dict[str, int]:
        """Live bytes of every category at the peak; they sum to the peak."""
        at_peak = self.live.by_category[self.peak_event].tolist()
        return dict(zip(CATEGORIES, at_peak, strict=True))

    @property
    def guessed_bytes(self) -> int:
        """Live bytes at the peak that are estimates, as workspaces that only a library decides."""
        there = self.buffers_at(self.peak_event)
        return sum(one.bytes for one in there if self.variables[one.variable].guessed)

    @property
    def peak_operator(self) -> str:
        """The operator that runs at the peak; "setup" if none has run by then."""
        return self.operator_at(self.peak_event)

    def operator_at(self, event: int) -> str:
        """The operator that runs at an event; "setup" if none has run by then."""
        operator = int(self.events.operator[event])
        return self.operators[operator].name if operator >= 0 else "setup"

    @property
    def persistent_bytes(self) -> int:
        """Bytes of parameters, buffers and optimizer state, which outlive the step."""
        first = (self.events.phase == 0) & (self.events.kind == 0)
        persistent = np.array([v.category in PERSISTENT for v in self.variables], dtype=bool)
        return int(self.events.bytes[first & persistent[self.events.variable]].sum())

    @cached_property
    def saved(self) -> list[intermediates.Intermediate]:
        """The intermediates that were kept from forward to backward."""
        return [found for found in intermediates.find(self) if found.kept]

    @property
    def saved_bytes(self) -> int:
        """Bytes of the intermediates that were kept from forward to backward."""
        return sum(found.bytes for found in self.saved)

    def replay(self, settings: str = "", limit: int | None = None) -> Replay:
        """What PyTorch's CUDA allocator does with the requests of this step and all before it.

        Args:
            settings: as in PYTORCH_CUDA_ALLOC_CONF, such as "expandable_segments:True".
            limit: bytes that it may reserve; without it memory has no end.

        Raises:
            InvalidValueError: the step has no such allocator, or a setting is wrong.
        """
        if not settings and limit is None and self._replayed is not None:
            return self._replayed
        return replay(self._asked, len(self.events), AllocatorSettings.parse(settings), limit)

    @property
    def _asked(self) -> Requests:
        if self.requests is None:
            raise InvalidValueError(
                "this step asks no allocator of a GPU: simulate it with device='cuda'"
            )
        return self.requests

    @cached_property
    def _replayed(self) -> Replay | None:
        return None if self.requests is None else replay(self.requests, len(self.events))

    @property
    def allocated_peak(self) -> int | None:
        """The most bytes of allocated blocks; ``None`` where no device has an allocator.

        Of a step that was run on CUDA it is what CUDA's own allocator counted.
        """
        return self._counted("allocated_peak")

    @property
    def reserved_peak(self) -> int | None:
        """The most bytes that the allocator has reserved; ``None`` where there is none."""
        return self._counted("reserved_peak")

    def _counted(self, name: str) -> int | None:
        if self._replayed is not None:
            return getattr(self._replayed, name)
        counted = self.about.get(name)
        return None if counted is None else int(counted)

    def segments(self, event: int | None = None, settings: str = "") -> "pd.DataFrame":
        """The segments of the allocator after an event, a row for each block.

        The columns are ``segment``, ``pool`` ("small" or "large"), ``segment_bytes``, ``address``,
        ``bytes``, ``requested_bytes``, ``state`` ("allocated" or "free"), and ``category`` and
        ``variable`` of what lives there, "" where that is not known.

        Args:
            event: which; the one at which most is reserved if not given.
            settings: as of :meth:`replay`.

        Raises:
            InvalidValueError: as :meth:`replay`; or there is no such event.
        """
        asked = self._asked
        at = int(np.argmax(self.replay(settings).reserved)) if event is None else event
        if not 0 <= at < len(self.events):
            raise InvalidValueError(
                f"event must be from 0 to {len(self.events) - 1}, got {event!r}"
            )
        there = segments_at(asked, at, AllocatorSettings.parse(settings))
        return segment_table(there, asked, self._held_at(at))

    def _held_at(self, event: int) -> dict[int, tuple[str, str]]:
        """Category and name of the oldest variable in each storage that is alive then."""
        lives, introduced = self.lives, int((self.events.phase == 0).sum()) - 1
        event = max(event, introduced)  # what is there before the step is introduced one by one
        there = np.flatnonzero((lives.oldest_from <= event) & (event < lives.died))
        found = ((int(lives.storage[at]), self.variables[lives.variable[at]]) for at in there)
        return {storage: (one.category, one.name) for storage, one in found}

    def intermediates(self) -> "pd.DataFrame":
        """The cached intermediates: see :func:`memprop.traces.intermediates.intermediates`."""
        return intermediates.intermediates(self)

    def cached(self) -> "pd.DataFrame":
        """What is kept for backward, by site: see :func:`memprop.traces.intermediates.cached`."""
        return intermediates.cached(self)

    def timeline(self) -> "pd.DataFrame":
        """A row for each event: see :func:`memprop.traces.timeline.timeline`."""
        return timeline.timeline(self)

    def compare(self, other: "Trace") -> "pd.DataFrame":
        """This step against another: see :func:`memprop.traces.compare.compare`."""
        return compare.compare(self, other)

    def plot(self, ax: "matplotlib.axes.Axes | None" = None) -> "matplotlib.axes.Axes":
        """Live bytes by category over the step, stacked; into ``ax`` or a new figure."""
        from memprop.traces import figures

        return figures.plot_timeline(self, ax)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the trace as gzipped JSON. Outputs are not saved.

        Raises:
            OutputError: the file cannot be written.
        """
        io.save(self, path)

    def to_perfetto(self, path: str | os.PathLike[str]) -> None:
        """Write Chrome's trace event format, for https://ui.perfetto.dev; errors as of save."""
        from memprop.traces.exports import perfetto

        write_whole(path, perfetto.perfetto(self))

    def to_memory_viz(self, path: str | os.PathLike[str]) -> None:
        """Write a snapshot for https://pytorch.org/memory_viz; errors as of save."""
        from memprop.traces.exports import memory_viz

        write_whole(path, memory_viz.memory_viz(self))

    def to_speedscope(self, path: str | os.PathLike[str]) -> None:
        """Write what lives at the peak for https://www.speedscope.app; errors as of save."""
        from memprop.traces.exports import stacks

        write_whole(path, stacks.speedscope(self))

    def to_folded(self, path: str | os.PathLike[str]) -> None:
        """Write what lives at the peak as folded stacks, for flame graphs; errors as of save."""
        from memprop.traces.exports import stacks

        write_whole(path, stacks.folded(self))

    def to_dataframe(self) -> "pd.DataFrame":
        """All that is known of each event: see :func:`memprop.traces.exports.tables.dataframe`."""
        from memprop.traces.exports import tables

        return tables.dataframe(self)

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write the table of :meth:`to_dataframe` as Parquet; errors as of save."""
        from memprop.traces.exports import tables

        write_whole(path, tables.parquet(self))

    def to_openmetrics(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        labels: Mapping[str, str] | None = None,
    ) -> str:
        """The numbers of the step as OpenMetrics text; into ``path`` as well, if there is one.

        ``labels`` are put on every sample, to tell this step from others.

        Raises:
            InvalidValueError: a name of a label is none.
            OutputError: the file cannot be written.
        """
        from memprop.traces.exports import openmetrics

        text = openmetrics.openmetrics(self, labels)
        if path is not None:
            write_whole(path, text)
        return text

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Trace":
        """The trace that :meth:`save` wrote.

        Raises:
            TraceFormatError: the file is missing, damaged, or no trace.
        """
        return cls.of_parts(io.read(path))

    @classmethod
    def of_parts(cls, parts: Mapping[str, Any]) -> "Trace":
        """A trace of its fields, as files have them: of other devices only what differs there."""
        main = {**parts, "elsewhere": {}}
        elsewhere = {
            name: cls(
                **{**main, "requests": None, "about": {**parts["about"], "device": name}, **part}
            )
            for name, part in parts["elsewhere"].items()
        }
        return cls(**{**main, "elsewhere": elsewhere})
