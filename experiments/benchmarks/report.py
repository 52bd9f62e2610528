"""The report of a run: one page of Markdown, and a CSV of the numbers of each benchmark."""

import importlib.metadata
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pandas as pd

from experiments.benchmarks.lineup import core_type
from experiments.benchmarks.section import Section, Verdict
from memprop.sweep.environment import environment

_PEERS: Final = ("torch", "jax", "jaxlib", "memray", "scalene")
_MET: Final[Mapping[bool | None, str]] = {True: "yes", False: "**no**", None: "-"}


def write_report(folder: Path, sections: Mapping[str, Section], load: float) -> Path:
    """Write ``README.md`` and a CSV for each of the named sections; returns the page's path.

    Args:
        folder: where they go.
        sections: by the name of their benchmark.
        load: how many processes wanted to run before the first benchmark did.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, section in sections.items():
        section.numbers.to_csv(folder / f"{name}.csv", index=False)
    page = folder / "README.md"
    page.write_text(markdown(sections, {**environment(), "load": load}), encoding="utf-8")
    return page


def markdown(sections: Mapping[str, Section], measured_in: Mapping[str, Any]) -> str:
    """The page: verdicts first, then every benchmark with its table."""
    parts = ["# Speed", about(measured_in), "## Targets", targets(sections)]
    for name, section in sections.items():
        parts += [f"## {section.title}", section.text.strip(), table(section.cells)]
        parts.append(f"Numbers: [{name}.csv]({name}.csv).")
    return "\n\n".join(parts) + "\n"


def about(measured_in: Mapping[str, Any]) -> str:
    """What was run, where and when, with which versions."""
    command = " ".join(["python -m experiments.benchmarks", *measured_in["command"][1:]])
    system = measured_in["system"]
    versions = {**measured_in["versions"], **_peer_versions()}
    listed = ", ".join(f"{name} {version or 'absent'}" for name, version in versions.items())
    machine = (
        f"{system['cpu']}, {system['cores_usable']} of {system['cores']} cores, "
        f"{system['architecture']}, {system['os']} {system['kernel']}"
    )
    kernels = core_type() or "not set, for no other kernels were faster"
    text = (
        f"`{command}` wrote this page and the tables beside it on {measured_in['date'][:10]}. "
        f"Machine: {machine}, load before the run {measured_in['load']:.1f} (times mean little "
        f"unless it is near 0). Versions: {listed}. NumPy's BLAS: {measured_in['blas']['name']} "
        f"{measured_in['blas']['version']}, OPENBLAS_CORETYPE: {kernels}."
    )
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False)


def _peer_versions() -> dict[str, str | None]:
    return {name: _version(name) for name in _PEERS}


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def targets(sections: Mapping[str, Section]) -> str:
    """A row for each target: what was found, and whether that meets it."""
    rows = [_row(s.title, verdict) for s in sections.values() for verdict in s.verdicts]
    columns = ["benchmark", "target", "found", "met"]
    return table(pd.DataFrame(rows, columns=columns)) if rows else "None of these has a target."


def _row(title: str, verdict: Verdict) -> tuple[str, str, str, str]:
    return title, verdict.target, verdict.found, _MET[verdict.met]


def table(cells: pd.DataFrame) -> str:
    """A table of texts in Markdown."""
    rows = [list(cells.columns), ["---"] * len(cells.columns), *cells.to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', '/') for cell in r)} |" for r in rows)
