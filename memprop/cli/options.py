"""Options that several commands share."""

from typing import Annotated

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
Optimizer = Annotated[str, typer.Option(help="none, sgd, momentum, adam or adamw.")]
Seed = Annotated[int, typer.Option(parser=integer, help="Of the initial weights and the samples.")]
Data = Annotated[
    str,
    typer.Option(
        help="'digits' (bundled), or a .npz (X, y), .csv or .parquet (last column: label)."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, for machines.")]
