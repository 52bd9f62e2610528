"""How long it takes until memprop is there: the import, and the first answer of the command."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Final

import pandas as pd

from experiments.benchmarks.contestant import ROOT
from experiments.benchmarks.effort import Effort
from experiments.benchmarks.outcome import Spread, spread
from experiments.benchmarks.section import Section, Verdict, at_most
from memprop.units import format_seconds

NUMPY: Final = "import numpy"
MEMPROP: Final = "import memprop"
HELP: Final = "memprop --help"

TEXT: Final = """\
Each in a fresh process, in interleaved rounds, with compiled bytecode in place: the
time of the import statement itself, and of the whole process of the command, Python's own start
included. Medians with quartiles.
"""

_TIMED: Final = "import time; t = time.perf_counter(); {}; print(time.perf_counter() - t)"

Rounds = dict[str, tuple[float, ...]]


def run(effort: Effort) -> Section:
    """Start everything once for the disk's sake, then in rounds."""
    print("start", file=sys.stderr)
    ways: dict[str, Callable[[], float]] = {
        NUMPY: lambda: _import_seconds(NUMPY),
        MEMPROP: lambda: _import_seconds(MEMPROP),
        HELP: _help_seconds,
    }
    for way in ways.values():
        way()
    rounds = [{name: way() for name, way in ways.items()} for _ in range(3 * effort.rounds)]
    return section({name: tuple(each[name] for each in rounds) for name in ways})


def _import_seconds(statement: str) -> float:
    return float(_output("-c", _TIMED.format(statement)))


def _help_seconds() -> float:
    begin = time.perf_counter()
    _output("-m", "memprop", "--help")
    return time.perf_counter() - begin


def _output(*arguments: str) -> str:
    """What Python prints; it may write bytecode, as it may where memprop is installed."""
    allowed = {n: v for n, v in os.environ.items() if n != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, *arguments]
    ended = subprocess.run(  # noqa: S603
        command, cwd=ROOT, env=allowed, capture_output=True, text=True, check=True
    )
    return ended.stdout


def section(rounds: Rounds) -> Section:
    """The report of what was timed."""
    spreads = {name: spread(times) for name, times in rounds.items()}
    return Section(
        title="Start",
        text=TEXT,
        numbers=pd.DataFrame([_numbers(name, found) for name, found in spreads.items()]),
        cells=pd.DataFrame([_cells(name, found) for name, found in spreads.items()]),
        verdicts=verdicts(rounds),
    )


def verdicts(rounds: Rounds) -> tuple[Verdict, ...]:
    """Whether memprop is there soon enough."""
    pairs = zip(rounds[MEMPROP], rounds[NUMPY], strict=True)
    ratio = spread([ours / numpy for ours, numpy in pairs]).median
    return (
        at_most("import memprop within 1.3 times import numpy", 1.3, [ratio], "{:.2f} times"),
        at_most("memprop --help within 0.3 s", 0.3, [spread(rounds[HELP]).median], "{:.2f} s"),
    )


def _numbers(name: str, found: Spread) -> dict[str, object]:
    return {"what": name, "seconds": found.median, "low": found.low, "high": found.high}


def _cells(name: str, found: Spread) -> dict[str, str]:
    return {"what": name, "time": found.shown(format_seconds)}
