"""The commands, put together."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from memprop.cli.compare import compare
from memprop.cli.doctor import doctor
from memprop.cli.export import export
from memprop.cli.fit import fit
from memprop.cli.graph import graph
from memprop.cli.options import TakesModel
from memprop.cli.plan import plan
from memprop.cli.profile import profile
from memprop.cli.report import report
from memprop.cli.simulate import simulate
from memprop.cli.sweep import sweep

# Typer names this subclass alone; where its base lives depends on Typer's version.
UsageError: Any = typer.BadParameter.__base__


class _Commands(TyperGroup):
    """The commands; those that take a model get its options when they are called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is called, whole."""
        name, found, rest = super().resolve_command(ctx, args)
        called = next((c for c in _COMMANDS if c.__name__ == name), None)
        if isinstance(called, TakesModel):
            alone = typer.Typer(add_completion=False, rich_markup_mode=None)
            alone.command(name)(called.with_options())
            found = typer.main.get_command(alone)
        return name, found, rest


app = typer.Typer(
    name="memprop",
    cls=_Commands,
    help="Where every byte of a training step goes, before and after it runs.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

_COMMANDS = (profile, simulate, fit, plan, graph, sweep, report, compare, export, doctor)

for command in _COMMANDS:
    app.command(command.__name__)(command)


def _print_version(wanted: bool) -> None:
    if wanted:
        from memprop.cli.output import version_line

        typer.echo(version_line())
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _memprop(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Say which.")
    ] = False,
) -> None:
    del version
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
