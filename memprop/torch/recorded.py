"""A task under the ledger: what is there before, what happens, what it all turned out to be."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from memprop.torch.ledger import Ledger
from memprop.torch.modules import Modules
from memprop.torch.operators import Operators
from memprop.torch.sums import in_place
from memprop.torch.task import Task, run
from memprop.traces.recorder import Recorder
from memprop.traces.trace import Trace


def recorded(
    task: Task,
    *,
    real: bool,
    beside: Callable[[Ledger], AbstractContextManager[object]] = lambda _: nullcontext(),
) -> Trace:
    """Run a task and trace it.

    Args:
        task: what to do.
        real: whether there are numbers, and so times and outputs.
        beside: something else that watches the step, given the ledger.
    """
    recorder, modules = Recorder(), Modules(task.module, task.loss)
    parameters = _parameters(task)
    operators = Operators(recorder, modules, parameters.items())
    ledger = Ledger(recorder, operators, timed=real)
    about = _about(task, real=real)
    _give_all(ledger, task)
    try:
        with ExitStack() as stack:
            stack.enter_context(_told_of_gradients(ledger, parameters))
            stack.enter_context(modules.watched())
            stack.enter_context(beside(ledger))
            stack.enter_context(ledger)
            outputs = run(task, ledger.begin)
            _tell_state(ledger, task)
    except Exception as error:
        if len(recorder):
            _keep_trace(error, in_place(recorder.trace(), ledger.sums))
        raise
    finally:
        ledger.storages.close()
    return in_place(recorder.trace(about, outputs if real else None), ledger.sums)


def _parameters(task: Task) -> dict[str, torch.Tensor]:
    """Every parameter by name, those of a loss that is a module included."""
    named: dict[str, torch.Tensor] = dict(task.module.named_parameters())
    if isinstance(task.loss, nn.Module):
        named |= {f"loss.{name}": tensor for name, tensor in task.loss.named_parameters()}
    return named


def _give_all(ledger: Ledger, task: Task) -> None:
    """Introduce everything that is there before the step."""
    for name, parameter in _parameters(task).items():
        ledger.give(parameter, name, "parameter")
    for module, prefix in ((task.module, ""), (task.loss, "loss.")):
        if isinstance(module, nn.Module):
            for name, buffer in module.named_buffers():
                ledger.give(buffer, f"{prefix}{name} (buffer)", "parameter")
    for name, parameter in _parameters(task).items():
        if parameter.grad is not None:
            ledger.give(parameter.grad, f"{name}.grad", "parameter_gradient")
    for name, state in _state(task):
        ledger.give(state, name, "optimizer_state")
    for name, tensor in task.tensors.items():
        ledger.give(tensor, name, "input")


def _state(task: Task) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of the optimizer's state, each named after its parameter."""
    if task.optimizer is None:
        return
    names = {id(parameter): name for name, parameter in _parameters(task).items()}
    for parameter, state in task.optimizer.state.items():
        for key, value in state.items():
            if isinstance(value, torch.Tensor):
                yield f"{names.get(id(parameter), 'parameter')}.{key}", value


def _tell_state(ledger: Ledger, task: Task) -> None:
    for name, state in _state(task):
        ledger.tell(state, name, "optimizer_state")


@contextmanager
def _told_of_gradients(ledger: Ledger, parameters: dict[str, torch.Tensor]) -> Iterator[None]:
    """Tell the ledger of each parameter's gradient as soon as it is there."""

    def teller(name: str) -> Any:
        def tell(parameter: torch.Tensor) -> None:
            if parameter.grad is not None:
                for part in _parts(parameter.grad):
                    ledger.tell(part, f"{name}.grad", "parameter_gradient")

        return tell

    hooks = [
        parameter.register_post_accumulate_grad_hook(teller(name))
        for name, parameter in parameters.items()
        if parameter.requires_grad
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _parts(tensor: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """What has the memory of a tensor: a sparse one is made of two."""
    if tensor.layout == torch.sparse_coo:
        return (tensor._indices(), tensor._values())
    return (tensor,)


def _about(task: Task, *, real: bool) -> dict[str, Any]:
    optimizer = task.optimizer
    return {
        "framework": "torch",
        "version": torch.__version__,
        "model": type(task.module).__name__,
        "mode": task.mode,
        "device": str(task.device),
        "optimizer": "none" if optimizer is None else type(optimizer).__name__,
        "run": "real" if real else "simulated",
    }


def _keep_trace(error: Exception, trace: Trace) -> None:
    """Hang what was recorded so far on the exception that broke the step off."""
    error.trace = trace  # pyright: ignore[reportAttributeAccessIssue]
    error.add_note(
        f"memprop: the step broke off in {trace.operators[-1].name if trace.operators else 'setup'}"
        f" with {int(trace.live.total[-1])} bytes live, {trace.peak} at the peak; "
        "the trace up to there is the attribute `trace` of this exception"
    )
