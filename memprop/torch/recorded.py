"""A task under the recorder: what is there before, what happens, what it all turned out to be."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace

from torch import nn

from memprop.torch.record.ledger import Ledger
from memprop.torch.record.lines import Lines
from memprop.torch.record.names import Names
from memprop.torch.record.recording import Recording, recording
from memprop.torch.task import Task, run
from memprop.traces.trace import Trace

Observer = Callable[[Ledger], AbstractContextManager[object]]


def recorded(
    task: Task, *, real: bool, lines: bool = False, observer: Observer | None = None
) -> Trace:
    """Run a task and trace it.

    Args:
        task: what to do.
        real: whether there are numbers, and so times and outputs.
        lines: whether variables know the line of the program that made them.
        observer: something else that watches the step, given the ledger. It counts events as they
            happen, so what was there before the step stays where the step found it.
    """
    try:
        return _recorded(task, real=real, lines=lines, observer=observer)
    except RuntimeError as error:
        if task.mode != "inference" or task.gradients_in_forward or not _needs_gradients(error):
            raise
    task = replace(task, gradients_in_forward=True)
    return _recorded(task, real=real, lines=lines, observer=observer)


def _needs_gradients(error: RuntimeError) -> bool:
    """Whether the forward pass calls autograd, and so cannot run without gradients."""
    return "does not require grad" in str(error)


def _recorded(task: Task, *, real: bool, lines: bool, observer: Observer | None) -> Trace:
    names = Names({} if task.optimizer is None else {"optimizer": task.optimizer})
    recorder = Recording(timed=real, names=names, lines=Lines(wanted=lines), pretence=task.pretence)
    with recording(recorder, lambda: _introduce(task, recorder), observer):
        outputs = run(task, recorder.ledger.begin)
        if task.optimizer is not None:
            recorder.given.optimizer(task.optimizer)
    pretence, optimizer = task.pretence, task.optimizer
    trace = recorder.trace(
        outputs if real else None,
        device=str(task.device) if pretence is None else pretence.device,
        gpu=None if pretence is None else pretence.gpu,
        model=type(task.module).__name__,
        mode=task.mode,
        optimizer="none" if optimizer is None else type(optimizer).__name__,
    )
    # An observer knows events by their numbers.
    return trace if observer is not None else recorder.ordered(trace)


def _introduce(task: Task, recorder: Recording) -> None:
    """Introduce all that a task hands over."""
    parts = {"": task.module, "loss": task.loss}
    for path, part in parts.items():
        if isinstance(part, nn.Module):
            recorder.modules.add(path, part)
            recorder.given.module(path, part)
    if task.optimizer is not None:
        recorder.given.optimizer(task.optimizer)
    for name, tensor in task.tensors.items():
        recorder.ledger.register(tensor, name, "input")
