"""Options that several commands share."""

import functools
import inspect
from collections.abc import Callable, Container, Iterable, Mapping
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
Update = Annotated[
    str, typer.Option(help="When parameters are updated: at_end or in_backward of the step.")
]
Optimizer = Annotated[str, typer.Option()]
Data = Annotated[
    str,
    typer.Option(
        help="'digits' (bundled), or a .npz (X, y), .csv or .parquet (last column: label)."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, for machines.")]

_PARSERS: Final[Mapping[type, Callable[[Any], Any]]] = {int: integer, float: number}


def _of_field(field: Any) -> tuple[Any, Any]:
    """A field of ``MLP`` as an option of the command line: its type with its help, its default."""
    check, name = field.metadata["check"], field.name.replace("_", "-")
    usual = getattr(check, "none", None) if field.default is None else field.default
    names = (f"--{name}/--no-{name}",) if check.kind is bool else (f"--{name}",)
    choices = f" {_listed(check.names)}" if hasattr(check, "names") else ""
    help_text = field.metadata["help"] + choices
    option = typer.Option(*names, parser=_PARSERS.get(check.kind), help=help_text)
    return Annotated[check.kind, option], usual


def _listed(names: Iterable[str]) -> str:
    """The names as a list in words, with a full stop."""
    *others, last = names
    return f"{', '.join(others)} or {last}."


def _keyword(parameter: inspect.Parameter) -> inspect.Parameter:
    """A parameter of a command, to be given by name; that of an optimizer with the known names."""
    kind = _named_optimizer() if parameter.name == "optimizer" else parameter.annotation
    return parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=kind)


def _named_optimizer() -> Any:
    """The option that takes the name of an optimizer."""
    from memprop.graph.optimizers import OPTIMIZER_NAMES

    return Annotated[str, typer.Option(help=_listed(OPTIMIZER_NAMES))]


def _of_model() -> dict[str, tuple[Any, Any]]:
    """The options of a model other than depth and width, and their defaults."""
    from memprop.models.mlp import options

    return {field.name: _of_field(field) for field in options()}


class TakesModel:
    """A command whose first parameter, a function that makes a model, becomes options.

    The options follow from the fields of ``MLP``. They are worked out when the command is called:
    loading what they follow from takes longer than everything else that ``memprop --help`` does.

    Args:
        command: the command, whose first parameter makes the model.
        depth: the default number of hidden layers.
        width: the default width of each.
    """

    __name__: str

    def __init__(self, command: Callable[..., None], depth: int, width: int) -> None:
        functools.update_wrapper(self, command)
        self.command, self.depth, self.width = command, depth, width

    def __call__(self) -> None:
        """A placeholder in the list of commands; :meth:`with_options` is run."""

    def with_options(self) -> Callable[..., None]:
        """The command with an option for each field of ``MLP``."""
        options = {
            "depth": (Depth, self.depth),
            "width": (Width, self.width),
            **_of_model(),
            "data": (Data, "digits"),
        }

        @functools.wraps(self.command)
        def run(**given: Any) -> None:
            description = {name: given.pop(name) for name in options}

            def describe() -> Any:
                from memprop.cli.model import described

                return described(**description)

            self.command(describe, **given)

        own = list(inspect.signature(self.command).parameters.values())[1:]
        shown = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=usual)
            for name, (kind, usual) in options.items()
        ]
        own = [_keyword(parameter) for parameter in own]
        parameters = [*shown[:2], *own, *shown[2:]]
        run.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportAttributeAccessIssue]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run


def describe_model(*, depth: int, width: int) -> Callable[[Callable[..., None]], TakesModel]:
    """A decorator for commands that take a model, with the default depth and width of it."""
    return functools.partial(TakesModel, depth=depth, width=width)


def was_given(context: typer.Context, name: str) -> bool:
    """Whether an option stands on the command line."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def refuse_those_of_a_model(context: typer.Context, of_a_factory: Container[str]) -> None:
    """Raise BadParameter for an option that describes a model, given with a factory.

    Args:
        context: of the command.
        of_a_factory: the options that a factory can have.
    """
    for name in context.params:
        if name not in of_a_factory and was_given(context, name):
            option = name.replace("_", "-")
            raise typer.BadParameter(
                f"--{option} describes a model of memprop's own and means nothing to a factory: "
                f"pass --arg {name}=... if yours takes it"
            )
