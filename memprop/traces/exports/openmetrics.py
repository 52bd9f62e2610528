"""The numbers of a step as OpenMetrics text, for dashboards.

The format: OpenMetrics 1.0 (https://github.com/prometheus/OpenMetrics). All metrics are gauges, so
that Prometheus' older text format, in which there is no info, understands them as well.
"""

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from memprop.errors import InvalidValueError
from memprop.traces.exports.format import Format

if TYPE_CHECKING:
    from prometheus_client.core import GaugeMetricFamily

    from memprop.traces.trace import Trace

_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_OWN: Final = frozenset({"category"})


def openmetrics(trace: "Trace", labels: Mapping[str, str] | None = None) -> str:
    """The peak, its parts, and the bytes kept for backward, as OpenMetrics text.

    Args:
        trace: one step.
        labels: put on every sample, to tell this step from others.

    Raises:
        InvalidValueError: a name of a label is none.
    """
    from prometheus_client import CollectorRegistry
    from prometheus_client.openmetrics.exposition import generate_latest

    common = {key: str(value) for key, value in (labels or {}).items()}
    for name in common:
        if not _LABEL.fullmatch(name) or name in _OWN or name.startswith("__"):
            raise InvalidValueError(
                f"{name!r} cannot be the name of a label: it takes letters, digits and _, must not "
                "begin with a digit or __, and must not be 'category'"
            )
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Step(trace, common))
    return generate_latest(registry).decode()


class _Step:
    """A trace as prometheus_client collects it."""

    def __init__(self, trace: "Trace", labels: Mapping[str, str]) -> None:
        self.trace = trace
        self.labels = labels

    def collect(self) -> Iterator["GaugeMetricFamily"]:
        """The metrics of the step."""
        trace = self.trace
        parts = [({"category": name}, size) for name, size in trace.peak_by_category().items()]
        kept = "Parameters, buffers and optimizer state, which outlive the step."
        saved = "Intermediates kept from forward to backward."
        yield self._one("peak", "Largest live bytes of the step.", trace.peak, "bytes")
        yield self._family("peak_category", "Live bytes at the peak.", parts, "bytes")
        yield self._one("persistent", kept, trace.persistent_bytes, "bytes")
        yield self._one("saved", saved, trace.saved_bytes, "bytes")
        yield self._one("saved_intermediates", saved, len(trace.saved))
        yield self._one("events", "Events of the trace.", len(trace.events))
        for name in ("flops", "recomputed_flops"):
            if isinstance(count := trace.about.get(name), int):
                yield self._one(name, "Floating-point operations of the step.", count)
        about = {_label(key): str(value) for key, value in trace.about.items()}
        yield self._family("step_info", "What was run; the value is always 1.", [(about, 1)])

    def _one(self, name: str, text: str, value: int, unit: str = "") -> "GaugeMetricFamily":
        return self._family(name, text, [({}, value)], unit)

    def _family(
        self, name: str, text: str, samples: list[tuple[dict[str, str], int]], unit: str = ""
    ) -> "GaugeMetricFamily":
        """A metric with a value for each set of labels."""
        from prometheus_client.core import GaugeMetricFamily

        names = [*samples[0][0], *(key for key in self.labels if key not in samples[0][0])]
        family = GaugeMetricFamily(f"memprop_{name}", text, labels=names, unit=unit)
        for own, value in samples:
            given = {**own, **self.labels}
            family.add_metric([_encodable(given[key]) for key in names], value)
        return family


def _label(name: str) -> str:
    """A name of what was run as the name of a label."""
    label = re.sub(r"[^a-zA-Z0-9_]", "_", name).lstrip("_")
    return label if _LABEL.fullmatch(label) else f"about_{label}"


def _encodable(text: str) -> str:
    """``text`` with what is not Unicode, as in the name of a file, written as an escape."""
    return text.encode(errors="backslashreplace").decode()


OPENMETRICS: Final = Format(
    name="openmetrics",
    suffix=".prom",
    encode=lambda trace: openmetrics(trace).encode(),
)
