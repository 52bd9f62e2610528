"""A module whose forward pass keeps less: its calls run again as a plan says."""

import warnings
import weakref
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from torch import nn
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    create_selective_checkpoint_contexts,
)

from memprop.errors import InvalidValueError
from memprop.torch.checkpoint.host import Loaded
from memprop.torch.checkpoint.shared_copy import shared_copy
from memprop.torch.checkpoint.tape import Paths, Tape

_functorch: Any = torch._C._functorch  # pyright: ignore[reportAttributeAccessIssue]


def planned(module: nn.Module, paths: Paths, counts: Mapping[Any, int]) -> nn.Module:
    """A module with the same parameters and buffers, that computes some calls again.

    Args:
        module: not changed. Everything in it but its tensors is copied.
        paths: what runs again.
        counts: how many calls of each of these operators a forward pass has.
    """
    twin = shared_copy(module)
    inner = vars(twin).get("forward")
    vars(twin)["forward"] = Planned(twin, paths, counts, inner)
    return twin


class Planned:
    """The forward of a planned module.

    Args:
        module: the module.
        paths: what runs again.
        counts: how many calls of each operator were planned.
        inner: the module's own forward, if it is not that of its class.
    """

    def __init__(
        self,
        module: nn.Module,
        paths: Paths,
        counts: Mapping[Any, int],
        inner: Callable[..., Any] | None = None,
    ) -> None:
        self._module = weakref.ref(module)
        self.paths, self.counts = paths, counts
        self._inner = inner
        self._told = False
        self._contexts = contexts_for(paths)

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy or a file has a module of its own."""
        named = {str(func): dict(places) for func, places in self.paths.items()}
        counts = {str(func): count for func, count in self.counts.items()}
        return _again, (self._module(), named, counts, self._inner)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run forward. Where no gradient can be asked for, nothing is noted."""
        own = self._own()
        if torch.compiler.is_compiling():
            return checkpoint(own, *args, use_reentrant=False, context_fn=self._contexts, **kwargs)
        if not torch.is_grad_enabled() or _functorch.peek_interpreter_stack() is not None:
            return own(*args, **kwargs)
        tape = Tape(self.paths)
        with tape.on():
            result = own(*args, **kwargs)
        self._check(tape)
        return result

    def _own(self) -> Callable[..., Any]:
        """The module's own forward."""
        if self._inner is not None:
            return self._inner
        module: Any = self._module()
        return type(module).forward.__get__(module)

    def _check(self, tape: Tape) -> None:
        """Warn once if another step was planned. Its gradients are right all the same."""
        if self._told or all(tape.seen[func] == count for func, count in self.counts.items()):
            return
        self._told = True
        func = next(func for func, count in self.counts.items() if tape.seen[func] != count)
        warnings.warn(
            f"the forward pass runs {func.name()} {tape.seen[func]} times, and was planned with "
            f"{self.counts[func]}: gradients are right, but the step may need other bytes than "
            "planned. Plan again with inputs and switches (train, autocast, device) of this step",
            stacklevel=4,
        )


_OFFLOAD: Final = getattr(CheckpointPolicy, "MUST_CPU_OFFLOAD", CheckpointPolicy.MUST_SAVE)
"""Earlier versions of PyTorch keep on the device what is planned for the host."""


def contexts_for(paths: Paths) -> Callable[[], Any]:
    """The contexts in which torch.compile traces the forward pass, to learn what runs again.

    There each call that runs again does so by itself, just before it is needed, so that groups are
    of no use. PyTorch asks about each call, in order.
    """

    def contexts() -> Any:
        counts: Counter[Any] = Counter()

        def policy(_: object, func: Any, *_args: Any, **_kwargs: Any) -> CheckpointPolicy:
            number = counts[func]
            counts[func] += 1
            path = paths.get(func, {}).get(number)
            if path is None:
                return CheckpointPolicy.MUST_SAVE
            if isinstance(path, Loaded):
                return _OFFLOAD
            return CheckpointPolicy.MUST_RECOMPUTE

        return create_selective_checkpoint_contexts(policy)

    return contexts


def operator_of(name: str) -> torch._ops.OpOverload:
    """The operator of PyTorch's own with a name such as "aten.addmm.default".

    Raises:
        ValueError: there is none.
    """
    _, packet, overload = name.split(".")
    found = getattr(getattr(torch.ops.aten, packet, None), overload, None)
    if not isinstance(found, torch._ops.OpOverload) or str(found) != name:
        raise ValueError(name)
    return found


def check_copied(module: nn.Module) -> None:
    """Raise InvalidValueError for what can be neither copied nor simulated."""
    for name, part in module.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            raise InvalidValueError(
                f"{name or 'the module'} is compiled by torch.jit, whose code cannot be watched: "
                "plan the module that it was made of"
            )


def _again(
    module: nn.Module,
    named: Mapping[str, Mapping[int, tuple[int, ...]]],
    counts: Mapping[str, int],
    inner: Callable[..., Any] | None,
) -> Planned:
    return Planned(
        module,
        {operator_of(name): places for name, places in named.items()},
        {operator_of(name): count for name, count in counts.items()},
        inner,
    )
