"""What lives at the peak as stacks, each with its bytes, for flame graphs.

A stack reads from the outside in: category, phase in which it was made, layer or the parts of the
module's path, operator, variable. The bytes of all stacks sum to the peak.
"""

import json
import re
from typing import TYPE_CHECKING, Final

from memprop.traces.exports.format import Format
from memprop.traces.live import Buffer
from memprop.version import __version__

if TYPE_CHECKING:
    from memprop.traces.trace import Trace

_SCHEMA: Final = "https://www.speedscope.app/file-format-schema.json"
_FILE: Final = re.compile(r".+:\d+")


def folded(trace: "Trace") -> bytes:
    """A line for each buffer, "frame;frame;... bytes", as flamegraph.pl and inferno read them."""
    lines = (
        f"{';'.join(_plain(frame) for frame in stack)} {size}\n" for stack, size in _stacks(trace)
    )
    return "".join(lines).encode(errors="backslashreplace")


def speedscope(trace: "Trace") -> bytes:
    """The stacks as a profile of speedscope, in bytes."""
    stacks = _stacks(trace)
    number = {frame: n for n, frame in enumerate(dict.fromkeys(f for s, _ in stacks for f in s))}
    # The peak is one instant, but speedscope opens with the samples in order: equal frames side by
    # side are drawn as one.
    samples = sorted(([number[frame] for frame in stack], size) for stack, size in stacks)
    name = f"live bytes at the peak, {trace.peak_operator}"
    profile = {
        "type": "sampled",
        "name": name,
        "unit": "bytes",
        "startValue": 0,
        "endValue": trace.peak,
        "samples": [frames for frames, _ in samples],
        "weights": [size for _, size in samples],
    }
    document = {
        "$schema": _SCHEMA,
        "exporter": f"memprop {__version__}",
        "name": name,
        "activeProfileIndex": 0,
        "shared": {"frames": [{"name": frame} for frame in number]},
        "profiles": [profile],
    }
    return json.dumps(document).encode()


def _stacks(trace: "Trace") -> list[tuple[tuple[str, ...], int]]:
    return [
        (_stack(trace, buffer), buffer.bytes)
        for buffer in trace.buffers_at(trace.peak_event)
        if buffer.bytes
    ]


def _stack(trace: "Trace", buffer: Buffer) -> tuple[str, ...]:
    variable = trace.variables[buffer.variable]
    phase = trace.phases[trace.events.phase[buffer.born]]
    operator = trace.events.operator[buffer.born]
    made_by = [] if operator < 0 else [trace.operators[operator].name]
    where = _where(variable.site, variable.layer)
    return variable.category, phase, *where, *made_by, variable.name


def _where(site: str, layer: int | None) -> list[str]:
    """A line of a program is one frame, a module of PyTorch one for each part of its path."""
    if site:
        return [site] if _FILE.fullmatch(site) else site.split(".")
    return [] if layer is None else [f"layer {layer}"]


def _plain(frame: str) -> str:
    """A semicolon ends a frame and a newline a stack: neither may stand in a name."""
    return re.sub(r"[;\s]+", lambda found: ":" if ";" in found[0] else " ", frame)


SPEEDSCOPE: Final = Format(name="speedscope", suffix=".speedscope.json", encode=speedscope)

FOLDED: Final = Format(name="folded", suffix=".folded.txt", encode=folded)
