"""The pages of docs/ and the README, and the code and output that stand in them."""

import contextlib
import doctest
import io
import os
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).parents[1]

_FENCE = re.compile(
    r'(?:^<!-- block: ([^\n]+) -->\n)?^```(\w+)(?: title="(.+?)")?\n(.*?)^```$',
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Example:
    """A block of code in a page.

    Attributes:
        language: "python", "sh", "toml".
        title: the name of the file that the block is; "" for code that is run.
        code: what stands in it.
        line: where it begins in the page.
        mark: what the comment ``<!-- block: ... -->`` above it says of how it is run; "" if it
            runs by itself.
        printed: the block of language "text" that comes next; ``None`` if there is none.
    """

    language: str
    title: str
    code: str
    line: int
    mark: str = ""
    printed: str | None = None


def pages() -> list[str]:
    """The README and every page of docs/, by their paths."""
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [path.relative_to(ROOT).as_posix() for path in found if path.exists()]


def blocks(page: str, language: str) -> list[str]:
    """The blocks of a language in a page, as ``blocks("docs/jax.md", "python")``."""
    found = (block for block in _fences(page) if block.language == language and not block.title)
    return [block.code for block in found]


def examples(page: str) -> list[Example]:
    """The blocks of code in a page, in order, each with the output that is shown for it."""
    found: list[Example] = []
    for block in _fences(page):
        if block.language == "text" and found and found[-1].printed is None:
            found[-1] = replace(found[-1], printed=block.code)
        else:
            found.append(block)
    return found


def _fences(page: str) -> list[Example]:
    """Every block in a page, each for itself."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [
        Example(language, title, code, text.count("\n", 0, found.start(2)) + 1, mark or "")
        for found in _FENCE.finditer(text)
        for mark, language, title, code in [found.groups(default="")]
    ]


def run_python(example: Example, names: dict) -> str:
    """What a block of Python prints, run here among ``names``."""
    stdout = io.StringIO()
    with contextlib.redirect_stdout(stdout):
        exec(compile(example.code, "page", "exec"), names)  # noqa: S102 - our own pages
    return stdout.getvalue()


def same(shown: str, printed: str) -> bool:
    """Whether a page shows what was printed; ``...`` there stands for anything."""
    return doctest.OutputChecker().check_output(
        _without_ends(shown), _without_ends(printed), doctest.ELLIPSIS
    )


def _without_ends(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip("\n").split("\n")) + "\n"


def run_shell(example: Example, folder: Path) -> str:
    """What a block of commands prints, run in ``folder``."""
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
