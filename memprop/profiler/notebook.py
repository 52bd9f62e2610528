"""``%load_ext memprop`` and the cell magic ``%%memprop``."""

from typing import Any

from memprop.profiler.profiler import Profiler

CELL: str = "cell"


def load_ipython_extension(shell: Any) -> None:
    """What ``%load_ext memprop`` calls: gives IPython the cell magic ``%%memprop``.

    ``%%memprop [name]`` runs its cell in a phase "cell" of a new :class:`memprop.Profiler`, which
    the cell knows as ``prof`` (or as ``name``), closes it and displays it.
    """

    def memprop(line: str, cell: str) -> Profiler | None:
        return run_cell(shell, line, cell)

    shell.register_magic_function(memprop, magic_kind="cell")


def run_cell(shell: Any, line: str, cell: str) -> Profiler | None:
    """Run ``cell`` with a profiler in its namespace. Return it, or ``None`` if the name is bad.

    An exception in the cell is shown by IPython as always.
    """
    name = line.strip() or "prof"
    if not name.isidentifier():
        print(f"%%memprop takes one name for the profiler, such as prof; got {line!r}")  # noqa: T201
        return None
    with Profiler() as profiler, profiler.phase(CELL):
        shell.user_ns[name] = profiler
        shell.run_cell(cell)
    return profiler
