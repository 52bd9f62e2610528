"""Imports point one way, as docs/design.md has it."""

import ast
import re
from pathlib import Path

import pytest

import memprop

ROOT = Path(memprop.__file__).parent
DESIGN = Path(__file__).parents[1] / "docs" / "design.md"
ROWS = re.findall(r"^\| \d+ \| (.+) \|$", DESIGN.read_text(encoding="utf-8"), re.MULTILINE)
LEVELS = [set(row.split(", ")) for row in ROWS]
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}
FILES = sorted(path for path in ROOT.rglob("*.py") if path.parent != ROOT or path.stem in LEVEL)


def module_name(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path):
    """Every module of memprop that the file imports, those for type checkers left out."""
    found = set()

    def visit(node):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            for alias in node.names:
                inner = ROOT.parent.joinpath(*(node.module or "").split("."), f"{alias.name}.py")
                found.add(f"{node.module}.{alias.name}" if inner.exists() else node.module)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return {name for name in found if name.split(".")[0] == "memprop"}


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_a_module_imports_only_from_below(path):
    package = module_name(path).split(".")[1]
    for name in imports_of(path):
        assert name != "memprop", f"{path} imports the root package"
        other = name.split(".")[1]
        assert other == package or LEVEL[other] < LEVEL[package], f"{path} imports {name}"


@pytest.mark.parametrize(
    "path", [path for path in FILES if "report" in path.relative_to(ROOT).parts], ids=module_name
)
def test_a_report_sees_traces_and_tables_only(path):
    seen = {name.split(".")[1] for name in imports_of(path)}
    assert seen <= {
        "report",
        "sweep",
        "traces",
        "probes",
        "terms",
        "units",
        "errors",
        "files",
        "version",
    }


def test_every_part_has_a_level():
    parts = {p.stem for p in ROOT.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert parts - {"__init__", "__main__"} == set(LEVEL)


def test_there_are_no_cycles():
    graph = {module_name(path): imports_of(path) for path in FILES}
    done, active = set(), []

    def walk(name):
        if name in active:
            pytest.fail(" -> ".join([*active[active.index(name) :], name]))
        if name in done or name not in graph:
            return
        active.append(name)
        for other in sorted(graph[name]):
            if other != name:
                walk(other)
        active.pop()
        done.add(name)

    for name in graph:
        walk(name)
