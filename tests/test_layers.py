"""Imports point one way, as docs/design.md has it."""

import ast
import re
from pathlib import Path

import pytest

import memprop

ROOT = Path(memprop.__file__).parent
DESIGN = Path(__file__).parents[1] / "docs" / "design.md"


def levels(heading):
    """The level of each part, by the table that has this heading."""
    text = DESIGN.read_text(encoding="utf-8")
    table = text.partition(f"| level | {heading} |\n")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| \d+ \| (.+) \|$", table, re.MULTILINE)
    return {name: level for level, row in enumerate(rows) for name in row.split(", ")}


LEVEL = levels("packages")
LEVEL_IN_TORCH = levels("parts of `memprop/torch`")
FILES = sorted(path for path in ROOT.rglob("*.py") if path.parent != ROOT or path.stem in LEVEL)


def module_name(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def package_of(name):
    """``torch`` for ``memprop.torch.loop``; ``torch.integrations`` has a level of its own."""
    parts = name.split(".")[1:]
    inner = ".".join(parts[:2])
    return inner if inner in LEVEL else parts[0]


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
    package = package_of(module_name(path))
    for name in imports_of(path):
        assert name != "memprop", f"{path} imports the root package"
        other = package_of(name)
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


def part_in_torch(name):
    """``fake`` for ``memprop.torch.fake.tensors``; ``None`` outside memprop.torch."""
    parts = name.split(".")
    return parts[2] if parts[1] == "torch" and len(parts) > 2 else None


@pytest.mark.parametrize(
    "path", [path for path in FILES if part_in_torch(module_name(path))], ids=module_name
)
def test_a_part_of_torch_imports_only_from_below(path):
    part = part_in_torch(module_name(path))
    for other in filter(None, map(part_in_torch, imports_of(path))):
        below = LEVEL_IN_TORCH[other] < LEVEL_IN_TORCH[part]
        assert other == part or below, f"{path} imports {other}"


@pytest.mark.parametrize(("folder", "level"), [(ROOT, LEVEL), (ROOT / "torch", LEVEL_IN_TORCH)])
def test_every_part_has_a_level(folder, level):
    parts = {p.stem for p in folder.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert parts - {"__init__", "__main__"} == {name for name in level if "." not in name}


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
