"""What came of a trial: whether it ran, and what was measured."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final, Literal, Self, get_args

from memprop.documents import STRICT, from_line
from memprop.traces.about import About
from memprop.traces.trace import Trace

Failure = Literal["oom", "timeout", "killed", "error"]
Status = Literal["ok", Failure, "skipped", "simulated"]

FAILURES: Final[tuple[str, ...]] = get_args(Failure)
STATUSES: Final[tuple[str, ...]] = get_args(Status)

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What came of a trial; what is not known is ``None``.

    Bytes of the persistent part (parameters, buffers, optimizer state) are in every peak.

    Attributes:
        status: "ok" if everything was measured; "oom", "timeout", "killed" (by a signal) or "error"
            if the trial failed; "skipped" if it was not run because it was predicted to run out of
            memory; "simulated" if it was only predicted.
        message: one line about what went wrong; empty if nothing did.
        predicted_peak: peak of the simulated step, in bytes.
        ledger_peak: peak that the engine recorded during a real step, in bytes.
        witness_peaks: name of a witness -> the peak that it saw, in bytes; ``None`` where it cannot
            measure on this machine.
        peak_by_category: category -> its bytes at the peak.
        peak_operator: the operator during which the peak is reached.
        saved_bytes: bytes of the intermediates that the forward pass keeps for the backward pass.
        saved_count: how many they are.
        persistent_bytes: bytes that exist before the step begins.
        flops: floating-point operations of the step.
        recomputed_flops: those of them that are done again.
        step_seconds: median time of a step.
        host: name of the machine.
        started: when the trial began, in ISO 8601 format.
        seconds: how long the trial took.
    """

    __pydantic_config__ = STRICT

    status: Status
    message: str = ""
    predicted_peak: int | None = None
    ledger_peak: int | None = None
    witness_peaks: Mapping[str, int | None] = field(default_factory=lambda: _NOTHING)
    peak_by_category: Mapping[str, int] = field(default_factory=lambda: _NOTHING)
    peak_operator: str | None = None
    saved_bytes: int | None = None
    saved_count: int | None = None
    persistent_bytes: int | None = None
    flops: int | None = None
    recomputed_flops: int | None = None
    step_seconds: float | None = None
    host: str | None = None
    started: str | None = None
    seconds: float | None = None

    @classmethod
    def of_step(cls, trace: Trace) -> Self:
        """What ``trace`` tells of a step that ran, or of one that was simulated."""
        about = About.of(trace.about)
        ran = about.run == "real"
        return cls(
            status="ok" if ran else "simulated",
            predicted_peak=None if ran else trace.peak,
            ledger_peak=trace.peak if ran else None,
            peak_by_category=trace.peak_by_category(),
            peak_operator=trace.peak_operator,
            saved_bytes=trace.saved_bytes,
            saved_count=len(trace.saved),
            persistent_bytes=trace.persistent_bytes,
            flops=about.flops,
            recomputed_flops=about.recomputed_flops,
        )

    def updated(self, later: "Measurement") -> "Measurement":
        """``later``, with what only this one knows."""
        mappings = {
            "witness_peaks": {**self.witness_peaks, **later.witness_peaks},
            "peak_by_category": {**self.peak_by_category, **later.peak_by_category},
        }
        return replace(self, **later._known() | mappings)

    def failed(self, status: Failure, message: str) -> "Measurement":
        """The same figures, of a trial that failed after they were known."""
        return replace(self, status=status, message=message)

    def columns(self) -> dict[str, Any]:
        """Column of the results -> value; what is not known is left out."""
        known = self._known()
        witnesses, categories = known.pop("witness_peaks"), known.pop("peak_by_category")
        return {
            **known,
            **{f"{name}_peak": size for name, size in witnesses.items()},
            **{f"peak_{name}": size for name, size in categories.items()},
        }

    def to_json(self) -> str:
        """One line of JSON, without what is not known."""
        return json.dumps(self._known(), default=dict)  # a read-only mapping is no dict

    @classmethod
    def from_json(cls, text: str) -> "Measurement":
        """The measurement that :meth:`to_json` wrote.

        Raises:
            DataError: ``text`` is none.
        """
        return from_line(cls, text, "measurement")

    def _known(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if value is not None}
