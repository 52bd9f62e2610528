"""What a step finds: modules, parameters, gradients, the state of optimizers."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

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
from memprop.torch.record.ours import Ours
from memprop.torch.record.parts import is_functional, parts
from memprop.torch.record.phases import Phases


class _NoHook:
    """In place of a hook, where a tensor can have none."""

    def remove(self) -> None:
        """Nothing is there to be removed."""


_NO_HOOK: Final = _NoHook()


class Given:
    """Introduces to the ledger what a step did not make, when it is handed over or found.

    Args:
        ledger: that of the step.
        operators: learns what parameters are called.
        phases: learns which optimizers run.
        names: finds names of optimizers and of parameters that are in no module.
        ours: tells whether what runs is recorded.
    """

    def __init__(
        self, ledger: Ledger, operators: Operators, phases: Phases, names: Names, ours: Ours
    ) -> None:
        # Weak, so that a program's optimizers die when it drops them.
        self.optimizers = WeakIdKeyDictionary()
        """Those whose ``step`` was called, in order, with their names."""
        self._ours = ours
        self._ledger, self._operators = ledger, operators
        self._phases = phases
        self._lookup = names
        self._names = WeakIdKeyDictionary()
        """Of the parameters that were introduced."""
        self._hooks = WeakIdKeyDictionary()
        """By parameter, those that tell of its gradient."""

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Follow gradients and optimizers inside the block."""
        before = register_optimizer_step_pre_hook(self._enter)
        after = register_optimizer_step_post_hook(self._leave)
        try:
            yield
        finally:
            before.remove()
            after.remove()
            for hook in list(self._hooks.values()):
                hook.remove()
            self._hooks = WeakIdKeyDictionary()

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
        if parameter not in self._hooks:
            name = self._ledger.name_of(parameter) or name
            self._names[parameter] = name
            self._operators.name_parameter(parameter, name)
            self._hooks[parameter] = self._follow_gradient(parameter, name)

    def optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        """Introduce the state of an optimizer, or say what an operator made of it."""
        for name, state in self._state(optimizer):
            self._ledger.reclassify(state, name, "optimizer_state")

    def gradients(self) -> None:
        """Say which buffers gradients are in: DDP may have put them where it reduces them."""
        for parameter in list(self._hooks):
            if parameter.grad is not None:
                name = f"{self._names[parameter]}.grad"
                self._ledger.reclassify(parameter.grad, name, "parameter_gradient")

    def gradient_storages(self) -> set[int]:
        """The numbers of the buffers in which parameters have their gradients now."""
        gradients = (p.grad for p in list(self._names) if p.grad is not None)
        homes = (self._ledger.storages.get(part) for one in gradients for part in parts(one))
        return {home.number for home in homes if home is not None}

    def _enter(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if not self._ours():
            return
        if optimizer not in self.optimizers:
            self.optimizers[optimizer] = self._lookup.of(optimizer)
        with self._ledger.finding():
            self.optimizer(optimizer)
        self._phases.updating.append(self.optimizers[optimizer])

    def _leave(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if not self._ours():
            return
        if self._phases.updating:
            self._phases.updating.pop()
        self.optimizer(optimizer)

    def _state(self, optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, torch.Tensor]]:
        """The tensors of the optimizer's state, each named after its parameter."""
        for parameter, state in optimizer.state.items():
            known = isinstance(parameter, torch.Tensor)
            name = self._names.get(parameter, "parameter") if known else str(parameter)
            for key, value in state.items() if isinstance(state, Mapping) else [("", state)]:
                for inner, tensor in _tensors_in(value):
                    yield f"{name}.{key}{inner}".strip("."), tensor
        for number, group in enumerate(optimizer.param_groups):
            for key, value in group.items():
                if isinstance(value, torch.Tensor):
                    yield f"group {number}.{key}", value

    def _follow_gradient(self, parameter: torch.Tensor, name: str) -> Any:
        """Tell the ledger of the parameter's gradient as soon as it is there, by a hook."""
        if not (parameter.requires_grad and parameter.is_leaf) or is_functional(parameter):
            return _NO_HOOK

        def tell(parameter: torch.Tensor) -> None:
            if parameter.grad is not None and self._ours():
                self._ledger.reclassify(parameter.grad, f"{name}.grad", "parameter_gradient")

        # First of all hooks: one of the user's may update the parameter and drop its gradient.
        hook = parameter.register_post_accumulate_grad_hook(tell)
        hooks: Any = parameter._post_accumulate_grad_hooks
        hooks.move_to_end(hook.id, last=False)
        return hook


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
