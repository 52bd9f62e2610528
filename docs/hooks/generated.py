"""The parts of the reference that memprop itself knows, put in where a page has their mark."""

from collections.abc import Callable, Iterator

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page
from pydantic.fields import FieldInfo
from typer.testing import CliRunner

from memprop.cli.app import app
from memprop.sweep.spec import TABLES

_COLUMNS = 88


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Replace each mark, ``<!-- generated: commands -->``, by what it stands for."""
    for name, write in PARTS.items():
        mark = f"<!-- generated: {name} -->"
        if mark in markdown:
            markdown = markdown.replace(mark, write())
    return markdown


def commands() -> str:
    """A section for each command: what ``memprop COMMAND --help`` says."""
    names = [command.callback.__name__ for command in app.registered_commands if command.callback]
    return "\n\n".join(f"## memprop {name}\n\n```text\n{help_of(name)}\n```" for name in names)


def help_of(command: str) -> str:
    """The help of a command, as in a terminal of 88 columns."""
    result = CliRunner().invoke(
        app, [command, "--help"], terminal_width=_COLUMNS, prog_name="memprop"
    )
    return result.output.rstrip()


def specification() -> str:
    """A section for each table of a specification: its keys, what they take, their defaults."""
    return "\n\n".join("\n".join(_table(name)) for name in TABLES)


def _table(name: str) -> Iterator[str]:
    yield f"## {f'`[{name}]`' if name else 'At the top'}\n"
    yield "| key | what | if it is left out |\n| --- | --- | --- |"
    for key, field in TABLES[name].model_fields.items():
        if key not in TABLES:
            yield f"| `{key}` | {field.description} | {_default(field)} |"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "*required*"
    values = field.default if isinstance(field.default, tuple) else (field.default,)
    shown = (str(value).lower() if isinstance(value, bool) else str(value) for value in values)
    return "none" if field.default is None else f"`{', '.join(shown)}`"


PARTS: dict[str, Callable[[], str]] = {"commands": commands, "specification": specification}
