"""Options that several commands share."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

import typer


def integer(text: str | int) -> int:
    """``text`` as an integer; unlike Typer's own complaint, this one names the value."""
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"expected an integer, got {text!r}") from None


def number(text: str | float) -> float:
    """``text`` as a number."""
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"expected a number, got {text!r}") from None


Depth = Annotated[int, typer.Option(parser=integer, help="Hidden layers.")]
Width = Annotated[int, typer.Option(parser=integer, help="Units in each hidden layer.")]
Batch = Annotated[int, typer.Option(parser=integer, help="Samples per step.")]
Activation = Annotated[str, typer.Option(help="relu, tanh, sigmoid, gelu, silu or identity.")]
Loss = Annotated[str, typer.Option(help="cross_entropy or mse.")]
Bias = Annotated[bool, typer.Option("--bias/--no-bias", help="Whether layers add a bias.")]
L2 = Annotated[float, typer.Option(parser=number, help="Strength of the penalty on the weights.")]
DType = Annotated[str, typer.Option("--dtype", help="float32 or float64.")]
Dropout = Annotated[
    float, typer.Option(parser=number, help="Probability that a hidden unit is dropped.")
]
DropoutMask = Annotated[
    str, typer.Option(help="regenerate the mask of dropout in backward, or store it.")
]
Norm = Annotated[str, typer.Option(help="Of the hidden layers: none or layer.")]
Residual = Annotated[
    bool, typer.Option("--residual/--no-residual", help="Skip connections around hidden layers.")
]
Update = Annotated[
    str, typer.Option(help="When parameters are updated: at_end or in_backward of the step.")
]
Optimizer = Annotated[str, typer.Option(help="none, sgd, momentum, adam or adamw.")]
Seed = Annotated[int, typer.Option(parser=integer, help="Of the initial weights and the samples.")]
Data = Annotated[
    str,
    typer.Option(
        help="'digits' (bundled), or a .npz (X, y), .csv or .parquet (last column: label)."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, for machines.")]

_MODEL: Final[Mapping[str, tuple[Any, Any]]] = {
    "activation": (Activation, "relu"),
    "loss": (Loss, "cross_entropy"),
    "bias": (Bias, True),
    "l2": (L2, 0.0),
    "dtype": (DType, "float32"),
    "dropout": (Dropout, 0.0),
    "dropout_mask": (DropoutMask, "regenerate"),
    "norm": (Norm, "none"),
    "residual": (Residual, False),
    "seed": (Seed, 0),
    "data": (Data, "digits"),
}
"""What describes a model beside depth and width, and its defaults."""


def describe_model(*, depth: int, width: int) -> Callable[[Callable[..., None]], Any]:
    """A decorator: the command's parameter ``describe`` becomes options that describe a model.

    It is a function that makes the model of them.

    Args:
        depth: the default number of hidden layers.
        width: the default width of each.
    """
    options = {"depth": (Depth, depth), "width": (Width, width), **_MODEL}

    def decorate(command: Callable[..., None]) -> Any:
        @functools.wraps(command)
        def run(**given: Any) -> None:
            description = {name: given.pop(name) for name in options}

            def describe() -> Any:
                from memprop.cli.model import described

                return described(**description)

            command(describe, **given)

        own = list(inspect.signature(command).parameters.values())[1:]
        shown = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=usual)
            for name, (kind, usual) in options.items()
        ]
        own = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
        parameters = [*shown[:2], *own, *shown[2:]]
        run.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportAttributeAccessIssue]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate
