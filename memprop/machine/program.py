"""Starting this program again, with the kernels that were chosen.

OpenBLAS reads its variable when it is loaded with NumPy, and NumPy has to be loaded to tell which
library it brings.
"""

import os
import sys
from contextlib import suppress

from memprop.machine.choice import Choice
from memprop.machine.race import CORE_TYPE


def start_again_with(choice: Choice) -> None:
    """Replace this process by the same program, started anew with other kernels.

    Returns if there is nothing to change, or where a process cannot be replaced.
    """
    if not choice.variables or choice.core_type == os.environ.get(CORE_TYPE) or os.name != "posix":
        return
    sys.stdout.flush()
    sys.stderr.flush()
    with suppress(OSError):  # it goes on as it is
        command = [sys.executable, *sys.orig_argv[1:]]
        os.execve(sys.executable, command, {**os.environ, **choice.variables})  # noqa: S606 - ours
