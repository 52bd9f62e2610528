"""What is wrong with a specification, said in one line: key, line, value, what was expected."""

import difflib
import re
from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from memprop.documents import shortened

Tables = Mapping[str, type[BaseModel]]
"""The models of the tables of a file by name; "" is what stands above all tables."""


def first_mistake(error: ValidationError, text: str, tables: Tables) -> str:
    """``, line 3: grid.depth: ...`` for the mistake that explains the others best."""
    lines = _lines_of_keys(text)

    def order(details: ErrorDetails) -> tuple[int, int]:
        return _rank(details), _line_of(_key(details), lines)

    first = min(error.errors(), key=order)
    line, key = _line_of(_key(first), lines), _key(first)
    return f"{f', line {line}' if line else ''}: {key}: {_complaint(first, tables)}"


def _rank(details: ErrorDetails) -> int:
    """Unknown keys first, missing keys last: what is missing is often what was misspelled."""
    return {"extra_forbidden": 0, "missing": 2}.get(details["type"], 1)


def _key(details: ErrorDetails) -> str:
    """``grid.depth``; the place in a list is left out, for the value says it."""
    return ".".join(part for part in details["loc"] if isinstance(part, str))


def _complaint(details: ErrorDetails, tables: Tables) -> str:
    key, kind = _key(details), details["type"]
    if kind == "extra_forbidden":
        return _unknown_key(key, tables)
    if kind == "missing":
        return f"this key is missing, expected {_expected(key, tables)}"
    if kind == "value_error":
        return str(details.get("ctx", {})["error"])
    return f"expected {_expected(key, tables)}, got {shortened(details['input'])}"


def _unknown_key(key: str, tables: Tables) -> str:
    table, _, name = key.rpartition(".")
    known = list(tables[table].model_fields)
    nearest = difflib.get_close_matches(name, known, n=1)
    home = next((other for other in tables if name in tables[other].model_fields), None)
    if nearest:
        return f"unknown key, did you mean '{nearest[0]}'? Known: {', '.join(known)}"
    if home is not None:
        return f"unknown key here, it belongs {f'into [{home}]' if home else 'above all tables'}"
    return f"unknown key. Known: {', '.join(known)}"


def _expected(key: str, tables: Tables) -> str:
    table, _, name = key.rpartition(".")
    return tables[table].model_fields[name].description or "another value"


_HEADER: Final = re.compile(r"\s*\[\[?([^\[\]]+)\]\]?\s*(?:#.*)?")
_ASSIGNMENT: Final = re.compile(r"\s*([\w.\-\"' ]+?)\s*=")


def _lines_of_keys(text: str) -> dict[str, int]:
    """The line, counted from 1, on which each key (``grid.depth``) or table is first written.

    Reads the lines as people write them: enough to point at a mistake, no parser.
    """
    lines: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.split("\n"), start=1):
        if header := _HEADER.fullmatch(line):
            key = table = _bare(header[1])
        elif assignment := _ASSIGNMENT.match(line):
            key = f"{table}.{_bare(assignment[1])}".lstrip(".")
        else:
            continue
        lines.setdefault(key, number)
    return lines


def _bare(key: str) -> str:
    return re.sub(r"[\s\"']", "", key)


def _line_of(key: str, lines: dict[str, int]) -> int:
    """The line of the key, else of its table (a missing key, an inline table), else 0."""
    return lines.get(key) or lines.get(key.rpartition(".")[0], 0)
