"""Recorded budgets: a file of JSON beside the tests, and what has changed since."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from memprop.errors import TraceFormatError
from memprop.files import write_whole
from memprop.units import format_bytes

if TYPE_CHECKING:
    from memprop.traces.trace import Trace

FILE: Final = "__memory__.json"
_MOST_VARIABLES: Final = 20
"""So many variables are recorded, the largest that live at the peak."""
_MOST_TOLD: Final = 8


def largest(trace: "Trace") -> list[tuple[str, int]]:
    """The variables that own the buffers alive at the peak, with their bytes, the largest first."""
    buffers = trace.buffers_at(trace.peak_event)
    named = [(trace.variables[buffer.variable].name, buffer.bytes) for buffer in buffers]
    return sorted(named, key=lambda pair: -pair[1])


def record_of(trace: "Trace") -> dict[str, Any]:
    """What is recorded of a trace."""
    categories = {name: size for name, size in trace.peak_by_category().items() if size}
    return {
        "peak": trace.peak,
        "peak_operator": trace.peak_operator,
        "categories": categories,
        "variables": dict(largest(trace)[:_MOST_VARIABLES]),
    }


def read(path: Path) -> dict[str, Any]:
    """The records of a file, by key; none if there is no file.

    Raises:
        TraceFormatError: the file is damaged.
    """
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise TraceFormatError(f"{path} cannot be read: {error}; mend it or delete it") from None
    if not isinstance(records, dict):
        raise TraceFormatError(f"{path} holds no budgets: mend it or delete it")
    return records


def update(files: dict[str, dict[str, Any]]) -> None:
    """Write new records into their files, and leave the others there as they are."""
    for name, records in files.items():
        path = Path(name)
        merged = {**read(path), **records}
        text = json.dumps(dict(sorted(merged.items())), indent=2, ensure_ascii=False)
        write_whole(path, f"{text}\n")


def growth(old: dict[str, Any], new: dict[str, Any]) -> str:
    """What has grown from one record to another: the peak, its categories, its variables."""
    lines = [
        f"peak {_change(old['peak'], new['peak'])}, at {new['peak_operator']} "
        f"(recorded: at {old['peak_operator']})"
    ]
    categories = sorted({*old["categories"], *new["categories"]})
    changed = [
        (name, old["categories"].get(name, 0), new["categories"].get(name, 0))
        for name in categories
    ]
    for name, before, after in sorted(changed, key=lambda row: row[1] - row[2]):
        if before != after:
            lines.append(f"  {name.replace('_', ' ')}: {_change(before, after)}")
    grown = _grown_variables(old["variables"], new["variables"])
    if grown:
        lines.append("variables that live at the peak:")
        lines += [f"  {told}" for told in grown[:_MOST_TOLD]]
    return "\n".join(lines)


def _grown_variables(old: dict[str, int], new: dict[str, int]) -> list[str]:
    """New and larger variables, by what they add.

    Of many variables the largest alone were recorded: one that is no larger than the least of them
    may have been there.
    """
    unseen = min(old.values(), default=0) if len(old) >= _MOST_VARIABLES else 0
    told = []
    for name, size in new.items():
        if name in old and size > old[name]:
            told.append((size - old[name], f"{name}: {_change(old[name], size)}"))
        elif name not in old and size > unseen:
            told.append((size, f"{name}: {format_bytes(size)}, new"))
    return [line for _, line in sorted(told, key=lambda pair: -pair[0])]


def _change(before: int, after: int) -> str:
    sign = "+" if after > before else "-"
    amount = f"{sign}{format_bytes(abs(after - before))}"
    return f"{format_bytes(before)} -> {format_bytes(after)} ({amount}, {after - before:+,} bytes)"
