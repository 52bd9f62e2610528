"""What is written when a training runs out of memory."""

from pathlib import Path

import torch

from memprop.files import make_folder, write_whole
from memprop.report.step import write_step
from memprop.traces.alive import alive_table
from memprop.traces.trace import Trace

_SAID = ("DefaultCPUAllocator", "out of memory")
"""In the messages of the RuntimeErrors of devices that have no error of their own for it."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device, or the host, had no memory left."""
    # The name in torch.cuda is older than torch.OutOfMemoryError, which is the same class.
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(said in str(error) for said in _SAID)


def write_out_of_memory(
    error: BaseException, where: str, partial: Trace | None, last: Trace | None, folder: Path
) -> None:
    """Write what lived when memory ran out.

    ``error.txt`` is the error with what is known of the step; ``lived.csv`` the buffers that were
    alive, the most bytes first, with one more such file for each further device; beside it the
    trace up to there and its page. Of a step that was not recorded none of it is known: then
    ``last_recorded_step/`` has what there is. What matters most comes first, for there may be no
    memory for the rest.

    Args:
        error: of the step.
        where: in the training it was raised.
        partial: what was recorded of the step; ``None`` if it was not.
        last: the latest whole step that was recorded.
        folder: where to.

    Raises:
        OutputError: the folder cannot be written.
    """
    make_folder(folder)
    write_whole(folder / "error.txt", f"{_story(error, where, partial)}\n")
    if partial is not None:
        partial.save(folder / "trace.json.gz")
        for device in partial.devices:
            name = "lived" if device == partial.device else f"lived_{device.replace(':', '_')}"
            table = alive_table(partial.on(device))
            write_whole(folder / f"{name}.csv", table.to_csv(index=False))
        write_step(partial, folder)
    elif last is not None:
        write_step(last, folder / "last_recorded_step")


def _story(error: BaseException, where: str, partial: Trace | None) -> str:
    """What happened, in a few lines."""
    raised = f"{where}: {type(error).__name__}: {error}"
    if partial is None:
        return (
            f"{raised}\nWhat lived then was not recorded. To see it, record every step: schedule=1"
        )
    last = partial.operator_at(len(partial.events) - 1)
    return (
        f"{raised}\n{int(partial.live.total[-1])} bytes lived on {partial.device} after {last}, "
        "the last operator that got its memory; lived.csv lists them."
    )
