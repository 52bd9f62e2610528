"""The command: ``python -m experiments.benchmarks [NAME ...] [--quick] [--out FOLDER]``."""

import argparse
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from experiments.benchmarks import (
    arena,
    ledger,
    memory,
    prediction,
    profilers,
    recomputation,
    start,
    step_time,
)
from experiments.benchmarks.contestant import ContenderFailed
from experiments.benchmarks.effort import FULL, QUICK, Effort
from experiments.benchmarks.report import write_report
from experiments.benchmarks.section import Section, failed_section
from memprop.errors import unknown_name

BENCHMARKS: Final[Mapping[str, Callable[[Effort], Section]]] = {
    "step_time": step_time.run,
    "ledger": ledger.run,
    "profilers": profilers.run,
    "memory": memory.run,
    "arena": arena.run,
    "recomputation": recomputation.run,
    "prediction": prediction.run,
    "start": start.run,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the named benchmarks, or all, and write their report."""
    asked = parser().parse_args(arguments)
    effort = QUICK if asked.quick else FULL
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else math.nan
    sections = {name: section(name, effort) for name in asked.names or BENCHMARKS}
    print(write_report(asked.out, sections, load))


def section(name: str, effort: Effort) -> Section:
    """What a benchmark reports, even if that is how it failed."""
    try:
        return BENCHMARKS[name](effort)
    except ContenderFailed as failure:
        return failed_section(name, str(failure))


def known(name: str) -> str:
    """``name`` if it is a benchmark's; argparse would not take an empty list with ``choices``."""
    if name not in BENCHMARKS:
        raise argparse.ArgumentTypeError(str(unknown_name("benchmark", name, BENCHMARKS)))
    return name


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    made = argparse.ArgumentParser(
        prog="python -m experiments.benchmarks",
        description="How fast memprop is, beside its peers and its limits.",
        epilog="example: python -m experiments.benchmarks step_time ledger --quick",
    )
    made.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        type=known,
        help=f"any of {', '.join(BENCHMARKS)}; all if there is none",
    )
    made.add_argument("--quick", action="store_true", help="small shapes and few rounds")
    made.add_argument("--out", type=Path, default=Path("reports/speed"), help="where to write")
    return made


if __name__ == "__main__":
    main()
