"""What a step finds: modules, parameters, gradients, the state of optimizers."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.utils.weak import WeakIdKeyDictionary

from memprop.torch.record.ledger import Ledger
from memprop.torch.record.names import Names
from memprop.torch.record.operators import Operators
from memprop.torch.record.phases import Phases


class Given:
    """Introduces to the ledger what a step did not make, when it is handed over or found.

    Args:
        ledger: that of the step.
        operators: learns what parameters are called.
        phases: learns which optimizers run.
        names: finds names of optimizers and of parameters that are in no module.
    """

    def __init__(self, ledger: Ledger, operators: Operators, phases: Phases, names: Names) -> None:
        # Weak, so that a program's optimizers die when it drops them.
        self.optimizers: WeakKeyDictionary[torch.optim.Optimizer, str] = WeakKeyDictionary()
        """Those whose ``step`` was called, in order, with their names."""
        self._ledger, self._operators = ledger, operators
        self._phases = phases
        self._lookup = names
        self._hooks = ExitStack()
        self._names = WeakIdKeyDictionary()
        """Of the parameters whose gradients are followed."""

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Follow gradients and optimizers inside the block."""
        with self._hooks:
            for hook in (
                register_optimizer_step_pre_hook(self._enter),
                register_optimizer_step_post_hook(self._leave),
            ):
                self._hooks.callback(hook.remove)
            yield
        self._names = WeakIdKeyDictionary()

    def module(self, path: str, module: nn.Module) -> None:
        """Introduce a module."""
        for name, parameter in module.named_parameters():
            self.parameter(parameter, _joined(path, name))
        for name, buffer in module.named_buffers():
            self._ledger.reclassify(buffer, f"{_joined(path, name)} (buffer)", "buffer")
        for name, parameter in module.named_parameters():
            if parameter.grad is not None:
                name = f"{_joined(path, name)}.grad"
                self._ledger.reclassify(parameter.grad, name, "parameter_gradient")

    def found_module(self, path: str, module: nn.Module) -> None:
        """Introduce a module that nobody handed over, when it is called."""
        with self._ledger.finding():
            self.module(path, module)

    def found_parameter(self, parameter: torch.Tensor) -> None:
        """Introduce a tensor that learns, when an operator reads it."""
        self.parameter(parameter, self._lookup.of(parameter, "parameter"))

    def parameter(self, parameter: torch.Tensor, name: str) -> None:
        """Introduce a parameter, and its gradient as soon as it is there."""
        self._ledger.reclassify(parameter, name, "parameter")
        if parameter not in self._names:
            name = self._ledger.name_of(parameter) or name
            self._names[parameter] = name
            self._operators.name_parameter(parameter, name)
            if parameter.requires_grad:
                self._follow_gradient(parameter, name)

    def optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        """Introduce the state of an optimizer, or say what an operator made of it."""
        for name, state in self._state(optimizer):
            self._ledger.reclassify(state, name, "optimizer_state")

    def gradients(self) -> None:
        """Say which buffers gradients are in: DDP may have put them where it reduces them."""
        for parameter, name in self._names.items():
            if parameter.grad is not None:
                self._ledger.reclassify(parameter.grad, f"{name}.grad", "parameter_gradient")

    def _enter(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if optimizer not in self.optimizers:
            self.optimizers[optimizer] = self._lookup.of(optimizer)
        with self._ledger.finding():
            self.optimizer(optimizer)
        self._phases.updating.append(self.optimizers[optimizer])

    def _leave(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if self._phases.updating:
            self._phases.updating.pop()
        self.optimizer(optimizer)

    def _state(self, optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, torch.Tensor]]:
        """The tensors of the optimizer's state, each named after its parameter."""
        for parameter, state in optimizer.state.items():
            name = self._names.get(parameter, "parameter")
            for key, value in state.items():
                for inner, tensor in _tensors_in(value):
                    yield f"{name}.{key}{inner}", tensor
        for number, group in enumerate(optimizer.param_groups):
            for key, value in group.items():
                if isinstance(value, torch.Tensor):
                    yield f"group {number}.{key}", value

    def _follow_gradient(self, parameter: torch.Tensor, name: str) -> None:
        """Tell the ledger of the parameter's gradient as soon as it is there."""

        def tell(parameter: torch.Tensor) -> None:
            if parameter.grad is not None:
                self._ledger.reclassify(parameter.grad, f"{name}.grad", "parameter_gradient")

        # First of all hooks: one of the user's may update the parameter and drop its gradient.
        hook = parameter.register_post_accumulate_grad_hook(tell)
        hooks: Any = parameter._post_accumulate_grad_hooks
        hooks.move_to_end(hook.id, last=False)
        self._hooks.callback(hook.remove)


def _tensors_in(value: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """A tensor of an optimizer's state; those of a list of them, as LBFGS keeps its directions."""
    if isinstance(value, torch.Tensor):
        yield "", value
    elif isinstance(value, list | tuple):
        yield from (
            (f"[{at}]", one) for at, one in enumerate(value) if isinstance(one, torch.Tensor)
        )


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
