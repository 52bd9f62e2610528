"""The pages of docs/ and the README, and the code and output that stand in them."""

import contextlib
import doctest
import io
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]

_FENCE = re.compile(r'^```(\w+)(?: title="(.+?)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Example:
    """A block of code in a page.

    Attributes:
        language: "python", "sh", "toml".
        title: the name of the file that the block is; "" for code that is run.
        code: what stands in it.
        printed: the block of language "text" that comes next; ``None`` if there is none.
    """

    language: str
    title: str
    code: str
    printed: str | None = None


def blocks(page: str, language: str) -> list[str]:
    """The blocks of a language in a page, as ``blocks("docs/jax.md", "python")``."""
    return [code for found, title, code in _fences(page) if found == language and not title]


def examples(page: str) -> list[Example]:
    """The blocks of code in a page, in order, each with the output that is shown for it."""
    found: list[Example] = []
    for language, title, code in _fences(page):
        if language == "text" and found and found[-1].printed is None:
            found[-1] = Example(found[-1].language, found[-1].title, found[-1].code, code)
        else:
            found.append(Example(language, title, code))
    return found


def _fences(page: str) -> list[tuple[str, str, str]]:
    """Language, title and content of every block in a page."""
    return _FENCE.findall((ROOT / page).read_text(encoding="utf-8"))


def run(example: Example, folder: Path, names: dict) -> str:
    """What an example prints in ``folder``, among the names of those before it; writes a file."""
    if example.title:
        (folder / example.title).write_text(example.code, encoding="utf-8")
        return ""
    return _python(example.code, names) if example.language == "python" else _shell(example, folder)


def same(shown: str, printed: str) -> bool:
    """Whether a page shows what was printed; ``...`` there stands for anything."""
    return doctest.OutputChecker().check_output(
        _without_ends(shown), _without_ends(printed), doctest.ELLIPSIS
    )


def _without_ends(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip("\n").split("\n")) + "\n"


def _python(code: str, names: dict) -> str:
    stdout = io.StringIO()
    with contextlib.redirect_stdout(stdout):
        exec(compile(code, "page", "exec"), names)  # noqa: S102 - our own pages
    return stdout.getvalue()


def _shell(example: Example, folder: Path) -> str:
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", example.code],
        cwd=folder,
        env={**os.environ, "PATH": programs},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
