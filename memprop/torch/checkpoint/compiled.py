"""A module as torch.compile runs it: its forward and backward graphs, operator by operator.

No compiler runs. Inductor fuses operators of these graphs and reuses their buffers, so that its
step takes about as many bytes or somewhat fewer.
"""

import copy
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FunctionType
from typing import Any
from unittest.mock import patch

import torch
from torch import fx, nn
from torch._dynamo.backends.common import aot_autograd
from torch._dynamo.exc import TorchDynamoException
from torch._functorch.partitioners import min_cut_rematerialization_partition
from torch._prims.rng_prims import run_and_save_rng_state, run_with_rng_state
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.nn.modules import module as module_hooks
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_flatten, tree_map_only, tree_unflatten

from memprop.errors import InvalidValueError
from memprop.torch.checkpoint.shared_copy import shared_copy
from memprop.torch.record.schema import tensors


def as_compiled(module: nn.Module, args: Sequence[Any], kwargs: dict[str, Any]) -> nn.Module:
    """A module with the same parameters whose forward and backward are compiled graphs.

    Args:
        module: the module.
        args: its inputs by place, in shape and type.
        kwargs: its inputs by name.

    Raises:
        InvalidValueError: torch.compile makes no single graph of it.
    """
    with _disable_current_modes(), _without_our_hooks():
        graphs = _Graphs.of(module, args, kwargs)
    twin = shared_copy(module)
    vars(twin)["forward"] = _Forward(twin, graphs)
    return twin


@contextmanager
def _without_our_hooks() -> Iterator[None]:
    """Inside the block no hook on all modules is a simulation's; the compiler would follow it."""
    table = module_hooks._global_forward_pre_hooks
    others = {
        key: hook
        for key, hook in table.items()
        if not (getattr(hook, "__module__", None) or "").startswith("memprop.")
    }
    with patch.dict(table, others, clear=True):
        yield


@dataclass(frozen=True)
class _Graphs:
    """What a call of a module was compiled to.

    Attributes:
        function: of a list of tensors; it returns a list of tensors.
        given: where each of its arguments is found: the name of a parameter or buffer, or the place
            of an input.
        results: the places of the module's outputs among what it returns.
        output: the form of the module's output.
    """

    function: Callable[..., Sequence[torch.Tensor]]
    given: tuple[str | int, ...]
    results: tuple[int, ...]
    output: Any

    @classmethod
    def of(cls, module: nn.Module, args: Sequence[Any], kwargs: dict[str, Any]) -> "_Graphs":
        mode = FakeTensorMode()
        held = _held(module)
        fakes = {name: _fake(mode, tensor) for name, tensor in held.items()}
        memo = {id(tensor): fakes[name] for name, tensor in held.items()}
        made = copy.deepcopy(module, memo)
        inputs = tree_map_only(torch.Tensor, lambda one: _fake(mode, one), (tuple(args), kwargs))
        calls: list[tuple[Any, tuple[Any, ...], Any]] = []

        def backend(graph: fx.GraphModule, examples: Any) -> Any:
            function = _BACKEND(graph, examples)

            def call(*given: Any) -> Any:
                calls.append((function, given, function(*given)))
                return calls[-1][2]

            return call

        with mode:
            output = _compiled(made, backend, inputs)
        ((function, given, returned),) = calls
        places: dict[int, str | int] = {id(fake): name for name, fake in fakes.items()}
        places |= {id(one): place for place, one in enumerate(tensors(inputs))}
        leaves, form = tree_flatten(output)
        at = {id(one): place for place, one in enumerate(returned)}
        if not all(id(one) in places for one in given) or not all(id(one) in at for one in leaves):
            raise InvalidValueError(
                f"a compiled {type(module).__name__} is given, or returns, something that is no "
                "parameter, buffer, input or output: plan without compiled=True"
            )
        return cls(
            function,
            tuple(places[id(one)] for one in given),
            tuple(at[id(one)] for one in leaves),
            form,
        )


class _Forward:
    """The forward of a module that is compiled."""

    def __init__(self, module: nn.Module, graphs: _Graphs) -> None:
        self._held = _held(module)
        self._graphs = graphs

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        inputs, graphs = tensors((args, kwargs)), self._graphs
        given = [
            self._held[place] if isinstance(place, str) else inputs[place] for place in graphs.given
        ]
        del inputs, args, kwargs
        returned = graphs.function(*given)
        return tree_unflatten([returned[place] for place in graphs.results], graphs.output)


def _held(module: nn.Module) -> dict[str, torch.Tensor]:
    """The parameters and buffers of a module, by name."""
    return dict([*module.named_parameters(), *module.named_buffers()])


def _fake(mode: FakeTensorMode, tensor: torch.Tensor) -> torch.Tensor:
    """A fake of a real tensor, or of a fake one of another mode."""
    device = tensor.fake_device if isinstance(tensor, FakeTensor) else tensor.device
    device = torch.device("cpu") if device.type == "meta" else device
    bare = torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device="meta")
    fake = FakeTensor(mode, bare, device)
    if isinstance(tensor, nn.Parameter):
        vars(fake)["_is_param"] = True  # what makes it an instance of nn.Parameter
    return fake.requires_grad_(tensor.requires_grad)


def _compiled(module: nn.Module, backend: Any, inputs: Any) -> Any:
    def call(args: Any, kwargs: Any) -> Any:
        return module(*args, **kwargs)

    # The compiler keeps what it makes with the code that it was asked for. This code is nobody's.
    own = FunctionType(call.__code__.replace(), globals(), "call", None, call.__closure__)
    try:
        with _without_warnings():
            return torch.compile(own, backend=backend, fullgraph=True, dynamic=False)(*inputs)
    except TorchDynamoException as error:
        first = str(error).strip().partition("\n")[0]
        raise InvalidValueError(
            f"torch.compile does not make one graph of {type(module).__name__} ({first}): plan "
            "without compiled=True, or for the parts that it compiles"
        ) from error


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Inside the block nothing warns of what runs twice in a checkpoint, for here nothing does."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


class _Interpreter(fx.Interpreter):
    """Runs graphs in which random operators run again, each with the state that was saved before.

    Dispatch modes do not see what is within such a pair, so its parts run by themselves.
    """

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        if target is run_and_save_rng_state:
            function, *given = args
            size = torch.default_generator.get_state().numel()
            return torch.empty(size, dtype=torch.uint8), function(*given, **kwargs)
        if target is run_with_rng_state:
            _, function, *given = args
            return function(*given, **kwargs)
        return super().call_function(target, args, kwargs)


def _by_operator(graph: fx.GraphModule, _: Any) -> Any:
    """A graph to be run by its operators; what is read for the last time dies at once."""

    def run(args: list[Any]) -> Any:
        return _Interpreter(graph).boxed_run(args)

    vars(run)["_boxed_call"] = True  # it may empty the list that it is given
    return run


_BACKEND: Any = aot_autograd(
    fw_compiler=_by_operator,
    bw_compiler=_by_operator,
    partition_fn=min_cut_rematerialization_partition,
)
