"""Huge pages: 2 MiB of memory at a time, which is faster, and blurs what the kernel counts."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from memprop.doctor.finding import GOOD, NOTICE, Finding

SECTION: Final = "huge pages"
_SETTING: Final = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_NUMPYS: Final = "NUMPY_MADVISE_HUGEPAGE"


def findings(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Findings about transparent huge pages.

    Args:
        environment: the variables of this process.
    """
    setting = _setting()
    yield _of_system(setting)
    asked = environment.get(_NUMPYS)
    if setting == "madvise" and asked == "0":
        says = f"NumPy does not ask for huge pages, because {_NUMPYS} is 0."
        yield Finding(SECTION, NOTICE, says, f"unset {_NUMPYS}: large arrays are faster with them.")
    elif setting == "madvise":
        says = "NumPy asks for huge pages for large arrays; in the trials of a sweep it does not."
        yield Finding(SECTION, GOOD, says)


def _of_system(setting: str | None) -> Finding:
    if setting is None:
        return Finding(SECTION, NOTICE, "This system does not tell whether it uses huge pages.")
    if setting == "always":
        says = "The kernel gives huge pages unasked (always): its count of a step may be too high."
        do = f"As root: echo madvise > {_SETTING}"
        return Finding(SECTION, NOTICE, says, do)
    return Finding(SECTION, GOOD, f"The kernel's setting of transparent huge pages is {setting}.")


def _setting() -> str | None:
    """The word in brackets of "always [madvise] never"; ``None`` where there is none."""
    try:
        words = _SETTING.read_text(encoding="utf-8").split()
    except OSError:
        return None
    return next((word.strip("[]") for word in words if word.startswith("[")), None)
