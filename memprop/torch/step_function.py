"""A function that does a whole training step, run or simulated, as a trace."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from memprop.checks import check_integer_from_zero
from memprop.errors import InvalidTypeError
from memprop.torch.fake.simulated import Simulation
from memprop.torch.fake.tensors import explained
from memprop.torch.inputs import check_leaves
from memprop.torch.record.lines import Lines
from memprop.torch.record.names import Names
from memprop.torch.record.recording import Recording, recording
from memprop.torch.record.scratch import Pretence
from memprop.traces.trace import Trace


def trace_step(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Trace:
    """Call a function that does one whole step, for real, and trace every storage.

    >>> import torch, memprop.torch as mpt
    >>> def train_step(model, optimizer, x):
    ...     optimizer.zero_grad()
    ...     loss = model(x).square().mean()
    ...     loss.backward()
    ...     optimizer.step()
    ...     return loss.detach()
    >>> model = torch.nn.Linear(4, 2)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> trace = mpt.trace_step(train_step, model, optimizer, torch.randn(8, 4))
    >>> trace.peak_operator
    'model/AddmmBackward0'

    It may do whatever a training loop does: run several modules, call backward several times, step
    several optimizers. Modules, optimizers and tensors among the arguments, or in containers among
    these, are there before the step and are called after the parameters of ``fn``; those that it
    finds elsewhere are there as soon as it uses them, and are called after their variables.

    Args:
        fn: any function.
        args: its arguments by place.
        kwargs: its arguments by name.

    Returns:
        The trace. ``outputs["result"]`` is what ``fn`` returned.

    Raises:
        InvalidTypeError: ``fn`` is no function. If it fails itself, its own exception is raised,
            with the trace up to there as the attribute ``trace``.
    """
    return _recorded(_call(fn, args, kwargs), real=True)


def simulate_step(
    fn: Callable[..., Any],
    *args: Any,
    device: torch.device | str | None = None,
    gpu: str = "h100",
    warmup: int = 1,
    **kwargs: Any,
) -> Trace:
    """The trace of the same step, with no memory allocated and no arithmetic done.

    All modules, optimizers and tensors that the function can reach, through its arguments or its
    own variables, are fake while it runs, and are afterwards as they were, whatever happens.

    Args:
        fn: as in :func:`trace_step`.
        args: its arguments by place.
        device: where to pretend that everything is: see :func:`memprop.torch.simulate`.
        gpu: which GPU "cuda" is.
        warmup: calls before the one that is traced, so that the state of optimizers is there.
        kwargs: its arguments by name.

    Raises:
        MempropError: an argument is wrong, or what the function does depends on the numbers in it,
            which a simulation does not have.
    """
    call = _call(fn, args, kwargs)
    count = check_integer_from_zero("warmup", warmup)
    check_leaves(dict(call.tensors()))
    simulation = Simulation(device, gpu)
    with explained(), simulation.of(fn, *args, *kwargs.values()):
        args, kwargs = simulation.swapped((args, kwargs))
        fake = _Call(fn, args, kwargs, call.parameters)
        with simulation.running() as pretence:
            for _ in range(count):
                _recorded(fake, real=False, pretence=pretence)
            return _recorded(fake, real=False, pretence=pretence)


@dataclass(frozen=True)
class _Call:
    """A call of a function.

    Attributes:
        fn: the function.
        args: by place.
        kwargs: by name.
        parameters: what the function calls the arguments by place.
    """

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    parameters: tuple[str, ...]

    def __call__(self) -> Any:
        return self.fn(*self.args, **self.kwargs)

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments by name."""
        return {**dict(zip(self.parameters, self.args, strict=True)), **self.kwargs}

    def leaves(self) -> Iterator[tuple[str, Any]]:
        """All that is in the arguments, by name, containers opened."""
        for name, value in self.arguments.items():
            yield from _leaves(name, value)

    def tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        """The tensors among them."""
        for name, value in self.leaves():
            if isinstance(value, torch.Tensor):
                yield name, value


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from _leaves(f"{name}[{key!r}]", one)
    elif isinstance(value, list | tuple):
        for at, one in enumerate(value):
            yield from _leaves(f"{name}[{at}]", one)
    else:
        yield name, value


def _call(fn: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> _Call:
    if not callable(fn):
        raise InvalidTypeError(f"fn must be a function that does one step, got {fn!r}")
    return _Call(fn, args, kwargs, _parameters(fn, len(args)))


def _parameters(fn: Callable[..., Any], count: int) -> tuple[str, ...]:
    """What a function calls its first arguments by place."""
    try:
        known = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):  # of a builtin
        known = ()
    by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [one.name for one in known if one.kind in by_place][:count]
    return (*names, *(f"argument{at}" for at in range(len(names), count)))


def _recorded(call: _Call, *, real: bool, pretence: Pretence | None = None) -> Trace:
    names = Names(dict(call.leaves()), look=True)
    recorder = Recording(timed=real, names=names, lines=Lines(wanted=True), pretence=pretence)
    with recording(recorder, lambda: _introduce(call, recorder)):
        result = call()
    outputs = {"result": result} if real else None
    del result  # the program that called the function would hold it; a trace of fakes must not
    return recorder.ordered(recorder.trace(outputs, **recorder.seen()))


def _introduce(call: _Call, recorder: Recording) -> None:
    """Introduce what the arguments hold, modules first."""
    for name, value in call.leaves():
        if isinstance(value, nn.Module):
            recorder.modules.add(name, value)
            recorder.modules.roots.append(name)
            recorder.given.module(name, value)
    for _, value in call.leaves():
        if isinstance(value, torch.optim.Optimizer):
            recorder.given.optimizer(value)
    for name, tensor in call.tensors():
        recorder.ledger.register(tensor, name, "input")
    recorder.phases.begin_step()
