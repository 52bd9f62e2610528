"""A bar on stderr for what takes long."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Timer
from typing import Final

PATIENCE_SECONDS: Final = 2.0

Describe = Callable[[str], None]

_shown: ContextVar[Describe | None] = ContextVar("_shown", default=None)
"""What changes the text of the bar that there is."""


@contextmanager
def waiting(what: str) -> Iterator[Describe | None]:
    """Show a moving bar and the time on stderr, once what is inside has taken two seconds.

    Where stderr is no terminal, nothing is shown. Inside another one there is no second bar.

    Yields:
        What changes the text beside the bar; ``None`` where there is no bar.
    """
    outer = _shown.get()
    if outer is not None or not sys.stderr.isatty():
        yield outer
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task(what, total=None)

    def describe(text: str) -> None:
        bar.update(task, description=text)

    timer = Timer(PATIENCE_SECONDS, bar.start)
    timer.daemon = True
    token = _shown.set(describe)
    timer.start()
    try:
        yield describe
    finally:
        _shown.reset(token)
        timer.cancel()
        timer.join()  # it may be about to start the bar
        bar.stop()
