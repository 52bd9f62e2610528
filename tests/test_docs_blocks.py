"""Every block of Python in README and docs/ runs by itself, and prints what the page shows.

A block runs with no names but its own, in an empty folder. Where that cannot be, a comment above
the block says so, and the test counts such blocks. Outputs that stand behind blocks are compared;
those of whole scripts are compared by the tests of their pages.
"""

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from optional import load_optional
from pages import ROOT, examples, pages, run_python, run_shell, same

COMMANDS = [
    "docs/will_it_fit.md",
    "docs/what_to_recompute.md",
    "docs/profile_my_model.md",
    "docs/sweep_on_a_cluster.md",
    "docs/exports.md",
    "docs/pytest.md",
    "docs/reference/sweep_spec.md",
]
"""Pages whose commands run one after the other, in one folder with the files that they show."""

IN_THE_FOLDER = "in the folder of the commands above"
CHECKOUT = "in a checkout"
CLUSTER = "not run, it needs a cluster"

MARKED = {
    ("docs/profile_my_model.md", IN_THE_FOLDER): 1,
    ("docs/sweep_on_a_cluster.md", IN_THE_FOLDER): 1,
    ("docs/sweep_on_a_cluster.md", CLUSTER): 3,
    ("docs/reference/results.md", CHECKOUT): 1,
}
"""How many blocks of which pages do not run by themselves."""

BLOCKS = [(page, block) for page in pages() for block in examples(page)]
PYTHON = [(page, block) for page, block in BLOCKS if block.language == "python"]
ALONE = [(page, block) for page, block in PYTHON if block.mark in ("", CHECKOUT)]

TOUR = next((block for page, block in PYTHON if page == "README.md"), None)


def named(blocks):
    return [pytest.param(*each, id=f"{each[0]}:{each[1].line}") for each in blocks]


def load_what_it_imports(block):
    """Skip, or fail where everything must be there, if a package that is imported is not."""
    for node in ast.walk(ast.parse(block.code)):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        modules += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        for module in modules:
            for package in OF_OTHERS.get(module, (module.partition(".")[0],)):
                if package not in sys.stdlib_module_names:
                    load_optional(package)


OF_OTHERS = {
    "memprop.torch": ("torch",),
    "memprop.jax": ("jax",),
    "memprop.torch.integrations.huggingface": ("torch", "transformers", "accelerate"),
    "memprop.torch.integrations.lightning": ("torch", "lightning"),
}
"""The packages that modules need."""


def check_printed(block, printed):
    if block.printed is not None and block.code.strip("\n") not in SCRIPTS:
        assert same(block.printed, printed), f"{block.code}prints\n{printed}"


SCRIPTS = "\n".join(
    path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs/examples").glob("*.py"))
)
"""All scripts that pages show parts of."""


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_blocks_that_do_not_run_by_themselves_are_counted():
    marked = Counter((page, block.mark) for page, block in BLOCKS if block.mark)
    assert marked == {key: count for key, count in MARKED.items() if key[0] in pages()}


def test_python_is_called_python():
    assert {"py", "python3", "pycon"}.isdisjoint(block.language for _, block in BLOCKS)


@pytest.mark.parametrize(("page", "block"), named(ALONE))
def test_a_block_of_python_runs_by_itself(page, block, tmp_path):
    load_what_it_imports(block)
    if block.mark == CHECKOUT:
        (tmp_path / "reports").symlink_to(ROOT / "reports")
    names = {"__name__": "__main__"}
    check_printed(block, run_python(block, names))
    if block is TOUR:
        check_tour(block.code, **names)


def check_tour(tour, *, mp, trace, model, test, **_):
    """The numbers beside the lines of the README's tour."""
    assert f"# {trace.peak} bytes" in tour
    assert f"# {trace.peak_operator!r}" in tour
    assert f'"parameter": {trace.peak_by_category()["parameter"]}' in tour
    assert mp.Trace.load("step.json.gz") == trace
    assert model.score(test.x, test.y) == pytest.approx(0.98, abs=0.01)


@pytest.mark.parametrize("page", [page for page in COMMANDS if page in pages()])
def test_the_commands_of_a_page_print_what_it_shows(page, tmp_path):
    for block in examples(page):
        if block.language == "python":
            load_what_it_imports(block) if block.mark != CLUSTER else ast.parse(block.code)
        if "--executor dask" in block.code:
            load_optional("distributed")
    for block in examples(page):
        if block.title:
            Path(block.title).write_text(block.code, encoding="utf-8")
        elif block.mark == CLUSTER and block.language == "sh":
            subprocess.run(["bash", "-n", "-c", block.code], check=True)
        elif block.language == "sh":
            check_printed(block, run_shell(block, tmp_path))
        elif block.mark == IN_THE_FOLDER:
            check_printed(block, run_python(block, {"__name__": "__main__"}))
