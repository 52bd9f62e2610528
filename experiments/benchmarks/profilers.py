"""A plain NumPy training script under memprop's profiler, and under those that users would take."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pandas as pd

from experiments.benchmarks.contestant import ROOT
from experiments.benchmarks.effort import Effort, Shape
from experiments.benchmarks.lineup import blas, surroundings
from experiments.benchmarks.outcome import Spread, spread
from experiments.benchmarks.section import Section
from memprop.units import format_seconds

PLAIN: Final = "plain"
SCRIPT: Final = Path(__file__).parent / "contenders" / "script.py"
SECONDS: Final = 0.5
"""For so long the script runs steps under a tool."""

TEXT: Final = """\
A training step written in plain NumPy (relu, bias, cross entropy, float32, no update), on one
thread: the median time of a step, to that of the same script by itself. memprop's profiler asks
tracemalloc for the memory and sites of a phase; watching parameters and samples makes it write down
every array that comes of them as well. tracemalloc and memray note every allocation, scalene
samples time and memory, memory_profiler reads resident memory after every line. The ratio is the
median over the rounds, with quartiles. What a tool does before the first step and after the last is
not in it.
"""


@dataclass(frozen=True)
class Tool:
    """A way to profile the script.

    Attributes:
        name: as it stands in the table.
        before: what Python is told before the script; ``{out}`` is a file to write to.
        within: the script's last argument.
        package: what must be installed.
    """

    name: str
    before: tuple[str, ...] = ()
    within: str = PLAIN
    package: str = ""


TOOLS: Final = (
    Tool(PLAIN),
    Tool("memprop, traced", within="memprop_traced"),
    Tool("memprop, watched", within="memprop_watched"),
    Tool("tracemalloc", before=("-X", "tracemalloc")),
    Tool("memray", before=("-m", "memray", "run", "-q", "-o", "{out}"), package="memray"),
    Tool("scalene", before=("-m", "scalene", "run", "-o", "{out}"), package="scalene"),
    Tool("memory_profiler", within="memory_profiler", package="memory_profiler"),
)


@dataclass(frozen=True)
class Profiled:
    """Seconds of a step of the script under a tool, a round each; ``note`` if there are none."""

    shape: Shape
    tool: Tool
    rounds: tuple[float, ...] = ()
    note: str = ""


def run(effort: Effort) -> Section:
    """Run the script under every tool, in interleaved rounds."""
    found = []
    for shape in effort.profiled:
        print(f"profilers: {shape}", file=sys.stderr)
        taken = [[_once(t, shape) for t in TOOLS] for _ in range(effort.profiled_rounds)]
        found += [_profiled(shape, *each) for each in zip(TOOLS, *taken, strict=True)]
    return section(found)


def _profiled(shape: Shape, tool: Tool, *rounds: float | str) -> Profiled:
    times = tuple(each for each in rounds if isinstance(each, float))
    notes = [each for each in rounds if isinstance(each, str)]
    return Profiled(shape, tool, (), notes[0]) if notes else Profiled(shape, tool, times)


def _once(tool: Tool, shape: Shape) -> float | str:
    """The seconds of a step under ``tool``, or why there are none."""
    if tool.package and find_spec(tool.package) is None:
        return "not installed"
    with tempfile.TemporaryDirectory() as folder:
        ended = subprocess.run(  # noqa: S603
            [sys.executable, *_command(tool, shape, Path(folder) / "profile")],
            cwd=ROOT,
            env=surroundings() | blas(threads=1),
            capture_output=True,
            text=True,
        )
    return next(_answers(ended.stdout), None) or f"failed: {' / '.join(_last(ended.stderr))}"


def _command(tool: Tool, shape: Shape, out: Path) -> Iterator[str]:
    yield from (part.format(out=out) for part in tool.before)
    yield str(SCRIPT)
    yield from (str(number) for number in (shape.depth, shape.width, shape.batch, SECONDS))
    yield tool.within


def _answers(output: str) -> Iterator[float]:
    for line in output.splitlines():
        if line.startswith("{"):
            yield float(json.loads(line)["seconds"])


def _last(errors: str) -> list[str]:
    return errors.strip().splitlines()[-2:]


def section(found: list[Profiled]) -> Section:
    """The report of what was found."""
    plain = {each.shape: each for each in found if each.tool.name == PLAIN}
    pairs = [(each, _ratio(each, plain[each.shape])) for each in found]
    return Section(
        title="Profilers",
        text=TEXT,
        numbers=pd.DataFrame([_numbers(*pair) for pair in pairs]),
        cells=pd.DataFrame([_cells(*pair) for pair in pairs]),
        verdicts=(),
    )


def _ratio(each: Profiled, plain: Profiled) -> Spread | None:
    if not each.rounds or not plain.rounds:
        return None
    return spread([a / b for a, b in zip(each.rounds, plain.rounds, strict=True)])


def _numbers(each: Profiled, ratio: Spread | None) -> dict[str, object]:
    numbers = {**each.shape.asked(), "tool": each.tool.name, "note": each.note}
    if each.rounds:
        numbers |= {"seconds": spread(each.rounds).median, "rounds": len(each.rounds)}
    if ratio:
        numbers |= {"ratio": ratio.median, "low": ratio.low, "high": ratio.high}
    return numbers


def _cells(each: Profiled, ratio: Spread | None) -> dict[str, str]:
    return {
        **each.shape.cell(),
        "under": each.tool.name,
        "a step": spread(each.rounds).shown(format_seconds) if each.rounds else each.note,
        "to plain": ratio.shown("{:.2f}".format) if ratio else "-",
    }
