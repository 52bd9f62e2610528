"""The numbers of a step as OpenMetrics text, for dashboards.

The format: OpenMetrics 1.0 (https://github.com/prometheus/OpenMetrics). All metrics are gauges, so
that Prometheus' older text format, in which there is no info, understands them as well.
"""

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from memprop.errors import InvalidValueError
from memprop.traces.exports.format import Format

if TYPE_CHECKING:
    from memprop.traces.trace import Trace

_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_OWN: Final = frozenset({"category"})


class _Gauge(NamedTuple):
    """A metric: name, unit ("" for a count), what it says, and a value for each set of labels."""

    name: str
    unit: str
    told: str
    values: list[tuple[dict[str, str], int]]


def openmetrics(trace: "Trace", labels: Mapping[str, str] | None = None) -> str:
    """The peak, what it is made of, and what is kept for backward, as OpenMetrics text.

    Args:
        trace: one step.
        labels: put on every sample, to tell this step from others.

    Raises:
        InvalidValueError: a name of a label is none.
    """
    common = {key: str(value) for key, value in (labels or {}).items()}
    for name in common:
        if not _LABEL.fullmatch(name) or name in _OWN or name.startswith("__"):
            raise InvalidValueError(
                f"{name!r} cannot be the name of a label: it takes letters, digits and _, must not "
                "begin with a digit or __, and must not be 'category'"
            )
    lines = [line for gauge in _gauges(trace) for line in _exposed(gauge, common)]
    return "\n".join([*lines, "# EOF", ""])


def _gauges(trace: "Trace") -> Iterator[_Gauge]:
    parts = [({"category": name}, size) for name, size in trace.peak_by_category().items()]
    yield _one("memprop_peak_bytes", "bytes", "Largest live bytes of the step.", trace.peak)
    yield _Gauge("memprop_peak_category_bytes", "bytes", "Live bytes at the peak.", parts)
    kept = "Parameters, buffers and optimizer state, which outlive the step."
    yield _one("memprop_persistent_bytes", "bytes", kept, trace.persistent_bytes)
    saved = "Intermediates kept from forward to backward."
    yield _one("memprop_saved_bytes", "bytes", saved, trace.saved_bytes)
    yield _one("memprop_saved_intermediates", "", saved, len(trace.saved))
    yield _one("memprop_events", "", "Events of the trace.", len(trace.events))
    for name in ("flops", "recomputed_flops"):
        if isinstance(count := trace.about.get(name), int):
            yield _one(f"memprop_{name}", "", "Floating-point operations of the step.", count)
    about = {_label(key): str(value) for key, value in trace.about.items()}
    yield _Gauge("memprop_step_info", "", "What was run; the value is always 1.", [(about, 1)])


def _one(name: str, unit: str, told: str, value: int) -> _Gauge:
    return _Gauge(name, unit, told, [({}, value)])


def _exposed(gauge: _Gauge, common: Mapping[str, str]) -> Iterator[str]:
    yield f"# TYPE {gauge.name} gauge"
    if gauge.unit:
        yield f"# UNIT {gauge.name} {gauge.unit}"
    yield f"# HELP {gauge.name} {gauge.told}"
    for own, value in gauge.values:
        pairs = ",".join(f'{key}="{_escape(text)}"' for key, text in {**own, **common}.items())
        yield f"{gauge.name}{{{pairs}}} {value}" if pairs else f"{gauge.name} {value}"


def _label(name: str) -> str:
    """A name of what was run as the name of a label."""
    label = re.sub(r"[^a-zA-Z0-9_]", "_", name).lstrip("_")
    return label if _LABEL.fullmatch(label) else f"about_{label}"


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


OPENMETRICS: Final = Format(
    name="openmetrics",
    suffix=".prom",
    encode=lambda trace: openmetrics(trace).encode(errors="backslashreplace"),
)
