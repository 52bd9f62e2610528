"""A task under the ledger: what is there before, what happens, what it all turned out to be."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from memprop.torch.record.late import given_at_setup
from memprop.torch.record.ledger import Ledger
from memprop.torch.record.modules import Modules
from memprop.torch.record.operators import Operators
from memprop.torch.record.parts import parts
from memprop.torch.record.sums import in_place, sums_in_place
from memprop.torch.task import Task, run
from memprop.traces.about import About
from memprop.traces.devices import by_device
from memprop.traces.recorder import Recorder
from memprop.traces.trace import Trace


def recorded(
    task: Task,
    *,
    real: bool,
    observer: Callable[[Ledger], AbstractContextManager[object]] | None = None,
) -> Trace:
    """Run a task and trace it.

    Args:
        task: what to do.
        real: whether there are numbers, and so times and outputs.
        observer: something else that watches the step, given the ledger. It counts events as they
            happen, so what was there before the step stays where the step found it.
    """
    try:
        return _recorded(task, real=real, observer=observer)
    except RuntimeError as error:
        if task.mode != "inference" or task.gradients_in_forward or not _needs_gradients(error):
            raise
    return _recorded(replace(task, gradients_in_forward=True), real=real, observer=observer)


def _needs_gradients(error: RuntimeError) -> bool:
    """Whether the forward pass calls autograd, and so cannot run without gradients."""
    return "does not require grad" in str(error)


def _recorded(
    task: Task,
    *,
    real: bool,
    observer: Callable[[Ledger], AbstractContextManager[object]] | None,
) -> Trace:
    recorder = Recorder()
    given = _Given(recorder)
    modules = Modules(task.module, task.loss, given.found_module)
    operators = Operators(recorder, modules)
    ledger = Ledger(
        recorder,
        operators,
        timed=real,
        found=given.found_parameter,
        pretence=task.pretence,
    )
    log = None if task.pretence is None else task.pretence.log
    if log is not None:
        log.begin(recorder.__len__)
    try:
        with ExitStack() as stack:
            stack.enter_context(given.told_to(ledger, operators))
            given.introduce(task)
            stack.enter_context(modules.watched())
            if observer is not None:
                stack.enter_context(observer(ledger))
            stack.enter_context(ledger)
            outputs = run(task, ledger.begin)
            _reclassify_state(ledger, task)
            _reclassify_gradients(ledger, task)
    except Exception as error:
        if len(recorder):
            seen = recorder.trace()
            _keep_trace(error, in_place(seen, sums_in_place(seen, ledger.sums)))
        raise
    finally:
        ledger.storages.close()
    seen = recorder.trace(_about(task, ledger, real=real), outputs if real else None)
    same = sums_in_place(seen, ledger.sums)
    trace = in_place(seen, same)
    if log is not None:
        log.end(same)
        trace = replace(trace, requests=log.requests(len(trace.events)))
    if observer is not None:  # it knows events by their numbers
        return trace
    return by_device(given_at_setup(trace, ledger.found_late))


class _Given:
    """Introduces to the ledger what is there before the step, at once or when the step finds it."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._hooks = ExitStack()
        self._followed: set[int] = set()

    @contextmanager
    def told_to(self, ledger: Ledger, operators: Operators) -> Iterator[None]:
        """Introduce all to this ledger, inside the block."""
        self._ledger, self._operators = ledger, operators
        with self._hooks:
            yield

    def introduce(self, task: Task) -> None:
        """Introduce all that the task hands over."""
        self._module("", task.module)
        if isinstance(task.loss, nn.Module):
            self._module("loss", task.loss)
        for name, state in _state(task):
            self._ledger.register(state, name, "optimizer_state")
        for name, tensor in task.tensors.items():
            self._ledger.register(tensor, name, "input")

    def found_module(self, path: str, module: nn.Module) -> None:
        """Introduce a module that the task did not hand over, when it is called."""
        with self._ledger.finding():
            self._module(path, module)

    def found_parameter(self, parameter: torch.Tensor) -> None:
        """Introduce a tensor that learns, when an operator reads it."""
        self._parameter(parameter, "parameter")

    def _module(self, path: str, module: nn.Module) -> None:
        for name, parameter in module.named_parameters():
            self._parameter(parameter, _joined(path, name))
        for name, buffer in module.named_buffers():
            self._ledger.register(buffer, f"{_joined(path, name)} (buffer)", "buffer")
        for name, parameter in module.named_parameters():
            if parameter.grad is not None:
                name = f"{_joined(path, name)}.grad"
                self._ledger.register(parameter.grad, name, "parameter_gradient")

    def _parameter(self, parameter: torch.Tensor, name: str) -> None:
        variable = self._ledger.register(parameter, name, "parameter")
        if variable is not None:
            name = self._recorder.variables[variable].name
        if id(parameter) not in self._followed:
            self._followed.add(id(parameter))
            self._operators.name_parameter(parameter, name)
            if parameter.requires_grad:
                self._follow_gradient(parameter, name)

    def _follow_gradient(self, parameter: torch.Tensor, name: str) -> None:
        """Tell the ledger of the parameter's gradient as soon as it is there."""

        def tell(parameter: torch.Tensor) -> None:
            if parameter.grad is not None:
                for part in parts(parameter.grad):
                    self._ledger.reclassify(part, f"{name}.grad", "parameter_gradient")

        # First of all hooks: one of the user's may update the parameter and drop its gradient.
        hook = parameter.register_post_accumulate_grad_hook(tell)
        hooks: Any = parameter._post_accumulate_grad_hooks
        hooks.move_to_end(hook.id, last=False)
        self._hooks.callback(hook.remove)


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _parameters(task: Task) -> Iterator[tuple[str, torch.Tensor]]:
    """Every parameter with its name, those of a loss that is a module included."""
    yield from task.module.named_parameters()
    if isinstance(task.loss, nn.Module):
        for name, parameter in task.loss.named_parameters():
            yield f"loss.{name}", parameter


def _state(task: Task) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of the optimizer's state, each named after its parameter."""
    if task.optimizer is None:
        return
    names = {id(parameter): name for name, parameter in _parameters(task)}
    for parameter, state in task.optimizer.state.items():
        for key, value in state.items():
            if isinstance(value, torch.Tensor):
                yield f"{names.get(id(parameter), 'parameter')}.{key}", value
    for number, group in enumerate(task.optimizer.param_groups):
        for key, value in group.items():
            if isinstance(value, torch.Tensor):
                yield f"group {number}.{key}", value


def _reclassify_state(ledger: Ledger, task: Task) -> None:
    for name, state in _state(task):
        ledger.reclassify(state, name, "optimizer_state")


def _reclassify_gradients(ledger: Ledger, task: Task) -> None:
    """Say which buffers gradients are in: DDP may have put them where it reduces them."""
    for name, parameter in _parameters(task):
        if parameter.grad is not None:
            for part in parts(parameter.grad):
                ledger.reclassify(part, f"{name}.grad", "parameter_gradient")


def _about(task: Task, ledger: Ledger, *, real: bool) -> About:
    optimizer = task.optimizer
    return About(
        framework="torch",
        version=torch.__version__,
        run="real" if real else "simulated",
        device=str(task.device) if task.pretence is None else task.pretence.device,
        gpu=None if task.pretence is None else task.pretence.gpu,
        model=type(task.module).__name__,
        mode=task.mode,
        optimizer="none" if optimizer is None else type(optimizer).__name__,
        unknown_kernels=", ".join(sorted(ledger.unknown)) or None,
    )


def _keep_trace(error: Exception, trace: Trace) -> None:
    """Hang what was recorded so far on the exception that broke the step off."""
    error.trace = trace  # pyright: ignore[reportAttributeAccessIssue]
    error.add_note(
        f"memprop: the step broke off in {trace.operators[-1].name if trace.operators else 'setup'}"
        f" with {int(trace.live.total[-1])} bytes live, {trace.peak} at the peak; "
        "the trace up to there is the attribute `trace` of this exception"
    )
