"""The command line: each command parses, calls the library, prints."""

import sys
from collections.abc import Sequence
from typing import Final

from memprop.errors import MempropError, UserCodeError

_COMPUTING: Final = ("profile",)
"""Commands that compute in this process; a sweep chooses for those that it starts."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run ``memprop`` and exit: 0 on success, 1 if the work failed, 2 if it was asked wrongly.

    What a user did wrong is one line on stderr, never a traceback.

    Args:
        arguments: those of the command; those of this process if not given.
    """
    sys.exit(run(sys.argv[1:] if arguments is None else arguments, program=arguments is None))


def run(arguments: Sequence[str], *, program: bool = False) -> int:
    """The exit status of ``memprop`` with ``arguments``.

    Args:
        arguments: those of the command.
        program: whether this process does nothing else, and may start again with the BLAS kernels
            that suit this machine.
    """
    from memprop.cli.app import UsageError, app

    try:
        if program and _computes(arguments):
            from memprop.machine.choice import chosen
            from memprop.machine.program import start_again_with

            start_again_with(chosen())
        return app(list(arguments), prog_name="memprop", standalone_mode=False) or 0
    except UsageError as error:
        return _complain(f"{error.format_message()} (see memprop --help)", 2)
    except UserCodeError as error:
        return _complain(str(error), 1)
    except MempropError as error:
        return _complain(str(error), 2)
    except MemoryError as error:
        return _complain(f"out of memory: {error}", 1)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has gone; there is nobody to tell
        return 1
    except OSError as error:
        return _complain(f"{error.strerror or error}", 1)
    except KeyboardInterrupt:
        return _complain("interrupted", 130)


def _computes(arguments: Sequence[str]) -> bool:
    return bool(arguments) and arguments[0] in _COMPUTING and "--help" not in arguments


def _complain(message: str, status: int) -> int:
    line = " ".join(message.split())
    sys.stderr.write(f"memprop: {line}\n")
    return status
