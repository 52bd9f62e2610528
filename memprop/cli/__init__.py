"""The command line: each command parses, calls the library, prints."""

import sys
from collections.abc import Sequence

from memprop.errors import MempropError, UserCodeError


def main(arguments: Sequence[str] | None = None) -> None:
    """Run ``memprop`` and exit: 0 on success, 1 if the work failed, 2 if it was asked wrongly.

    What a user did wrong is one line on stderr, never a traceback.
    """
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """The exit status of ``memprop`` with ``arguments``."""
    from memprop.cli.app import UsageError, app

    try:
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


def _complain(message: str, status: int) -> int:
    line = " ".join(message.split())
    sys.stderr.write(f"memprop: {line}\n")
    return status
