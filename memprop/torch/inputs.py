"""What a user hands to a step: inputs in any form, a loss, and the checks on both."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.utils._pytree import keystr, tree_flatten_with_path, tree_leaves

from memprop.errors import InvalidTypeError, InvalidValueError

Loss = Callable[..., torch.Tensor]


def arguments(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """``inputs`` as the arguments of a call: a tuple or list by place, a mapping by name.

    Anything else is one argument, a named tuple too.
    """
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    if isinstance(inputs, tuple | list) and not hasattr(inputs, "_fields"):
        return tuple(inputs), {}
    return (inputs,), {}


def named(module: nn.Module, inputs: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors among the inputs, named after the parameters of ``module.forward``."""
    args, kwargs = arguments(inputs)
    names = [
        name
        for name, parameter in inspect.signature(module.forward).parameters.items()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    names += [f"input{place}" for place in range(len(names), len(args))]
    yield from named_leaves({**dict(zip(names, args, strict=False)), **kwargs})


def named_leaves(tree: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors in a tree of dicts, lists and tuples, named by the way to them."""
    for path, leaf in tree_flatten_with_path(tree)[0]:
        if isinstance(leaf, torch.Tensor):
            yield keystr(path).replace("['", "", 1).replace("']", "", 1), leaf


def loss_of(loss: Loss | None, output: Any, target: Any) -> torch.Tensor:
    """The scalar that is differentiated.

    Args:
        loss: called with the output, and with the target if there is one. Without it the module's
            output is the loss if it is a scalar or has one under "loss"; else the sum of all
            floating-point numbers in the output is.
        output: what the module returned.
        target: what to compare it with.

    Raises:
        InvalidValueError: not a scalar, or nothing that can be differentiated.
        InvalidTypeError: not a tensor.
    """
    if loss is None:
        value = _own_loss(output)
    else:
        value = loss(output) if target is None else loss(output, target)
    if not isinstance(value, torch.Tensor):
        raise InvalidTypeError(f"the loss must be a tensor, got a {type(value).__name__}")
    if value.numel() != 1:
        raise InvalidValueError(
            f"the loss must be a scalar, got the shape {tuple(value.shape)}: "
            "pass loss=..., a function of the output that ends in .mean() or .sum()"
        )
    if value.is_complex():
        raise InvalidValueError(
            "the loss must be a real number, got a complex one: pass loss=..., a function of the "
            "output that ends in .abs() or .real"
        )
    if not value.requires_grad:
        raise InvalidValueError(
            "the loss depends on nothing that is trained: is the model run under torch.no_grad, or "
            "its output detached? For a forward pass alone use mode='inference'"
        )
    return value


def _own_loss(output: Any) -> torch.Tensor:
    own = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
    if isinstance(own, torch.Tensor):
        return own
    leaves = [leaf for leaf in tree_leaves(output) if _is_differentiable(leaf)]
    if not leaves:
        raise InvalidValueError(
            "the module's output has no tensor that depends on what is trained: pass loss=..."
        )
    if len(leaves) == 1 and leaves[0].numel() == 1:
        return leaves[0]
    if any(leaf.is_complex() for leaf in leaves):
        raise InvalidValueError("the module's output is complex: pass loss=..., with real numbers")
    return torch.stack([leaf.float().sum() for leaf in leaves]).sum()


def _is_differentiable(leaf: Any) -> bool:
    return isinstance(leaf, torch.Tensor) and leaf.requires_grad


def check_module(module: object) -> None:
    """Raise InvalidTypeError unless ``module`` is a module, InvalidValueError if it is lazy."""
    if not isinstance(module, nn.Module):
        raise InvalidTypeError(f"module must be a torch.nn.Module, got {module!r}")
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if is_lazy(tensor):
            raise InvalidValueError(
                f"{name} has no shape before the module has run: run it once, then try again"
            )


def check_names(inputs: object) -> None:
    """Raise InvalidTypeError unless inputs in a mapping have texts as names."""
    names = list(inputs) if isinstance(inputs, Mapping) else []
    for name in names:
        if not isinstance(name, str):
            raise InvalidTypeError(
                f"inputs in a dict have the names of forward's parameters, got {name!r}"
            )


def check_target(loss: object, target: object) -> None:
    """Raise InvalidValueError for a target that no loss is told of."""
    if loss is None and target is not None:
        raise InvalidValueError(
            "target is handed to loss, and there is none: pass loss=..., as "
            "torch.nn.functional.cross_entropy, or leave target out"
        )


def check_loss(loss: object) -> None:
    """Raise InvalidTypeError unless ``loss`` can be called, or is missing."""
    if loss is not None and (not callable(loss) or isinstance(loss, type)):
        raise InvalidTypeError(
            f"loss must be a function of the module's output, as torch.nn.MSELoss(); got {loss!r}"
        )


def check_autocast(dtype: object) -> None:
    """Raise InvalidTypeError unless ``dtype`` is a 16-bit type, or missing."""
    if dtype not in (None, torch.bfloat16, torch.float16):
        raise InvalidTypeError(
            f"autocast must be torch.bfloat16 or torch.float16, or left out; got {dtype!r}"
        )


def check_trainable(module: nn.Module, inputs: Any) -> None:
    """Raise InvalidValueError if nothing in the module or its inputs needs a gradient."""
    tensors = [*module.parameters(), *tree_leaves(inputs)]
    if not any(isinstance(t, torch.Tensor) and t.requires_grad for t in tensors):
        raise InvalidValueError(
            f"{type(module).__name__} has no parameter that requires a gradient, so there is no "
            "training step: use mode='inference', or set requires_grad"
        )


def check_devices(module: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Raise InvalidValueError if an input is on another device than a module on one device."""
    homes = {tensor.device for tensor in (*module.parameters(), *module.buffers())}
    if len(homes) != 1:
        return
    (home,) = homes
    for name, tensor in tensors.items():
        if tensor.device != home and tensor.dim() > 0:
            raise InvalidValueError(
                f"{name} is on {tensor.device}, but the module is on {home}: move one of them, as "
                f"in inputs.to({str(home)!r})"
            )


def check_leaves(tensors: Mapping[str, torch.Tensor]) -> None:
    """Raise InvalidValueError if an input is the result of operators that have a backward."""
    for name, tensor in tensors.items():
        if tensor.requires_grad and not tensor.is_leaf:
            raise InvalidValueError(
                f"{name} is the result of other operators, through which backward would go on: "
                "pass x.detach().requires_grad_() in the place of x"
            )


def check_real(module: nn.Module) -> None:
    """Raise InvalidValueError if a parameter has no memory."""
    for name, parameter in module.named_parameters():
        if parameter.device.type == "meta":
            raise InvalidValueError(
                f"{name} is on the meta device and has no numbers, so nothing can be run: use "
                "memprop.torch.simulate"
            )


def check_dense(module: nn.Module) -> None:
    """Raise InvalidValueError if a module has sparse gradients: a fake one has no size."""
    for name, part in module.named_modules():
        if getattr(part, "sparse", False):
            raise InvalidValueError(
                f"{name or 'the module'} has sparse gradients, whose size a simulation does not "
                "know: use memprop.torch.trace, or sparse=False"
            )
