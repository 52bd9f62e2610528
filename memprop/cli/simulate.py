"""``memprop simulate``: the peak under every schedule, and the largest batch, without running."""

from collections.abc import Callable
from typing import Annotated, Any

import typer

from memprop.cli import options


@options.describe_model(depth=8, width=256)
def simulate(
    describe: Callable[[], Any],
    batch: options.Batch = 512,
    budget: Annotated[str | None, typer.Option(help="Memory to fit into, such as '2 GiB'.")] = None,
    optimizer: options.Optimizer = "none",
    as_json: options.Json = False,
) -> None:
    """Predict peaks and the largest batch, without running.

    One row for each schedule.

    For example:

    memprop simulate --depth 8 --width 256 --batch 512 --budget "2 GiB"
    """
    from memprop.cli.output import print_json
    from memprop.units import parse_bytes

    room = None if budget is None else parse_bytes(budget)
    made = describe()
    rows = [_row(made.model, batch, name, optimizer, room) for name in _schedules()]
    if as_json:
        print_json({"model": repr(made.model), "batch": batch, "budget": room, "schedules": rows})
    else:
        _print(made.model, batch, room, rows)


def _schedules() -> list[str]:
    from memprop.schedules.names import without_number

    return list(without_number())


def _row(model: Any, batch: int, schedule: str, optimizer: str, room: int | None) -> dict[str, Any]:
    from memprop.capacity import max_batch
    from memprop.engine import step

    mode = "inference" if schedule == "inference" else "train"
    step_options = {"schedule": schedule, "mode": mode, "optimizer": optimizer}
    trace = step.simulate(model, batch, **step_options)
    row = {
        "schedule": schedule,
        "peak": trace.peak,
        "peak_operator": trace.peak_operator,
        "peak_by_category": trace.peak_by_category(),
        "saved_bytes": trace.saved_bytes,
        "saved_count": len(trace.saved),
        "flops": trace.about["flops"],
    }
    if room is not None:
        row |= {"fits": trace.peak <= room, "max_batch": max_batch(model, room, **step_options)}
    return row


def _print(model: Any, batch: int, room: int | None, rows: list[dict[str, Any]]) -> None:
    from memprop.cli.output import console, table
    from memprop.units import format_bytes

    inference = next(row["peak"] for row in rows if row["schedule"] == "inference")
    columns = ["schedule", "peak", "bytes", "to inference", "cached", "at"]
    if room is not None:
        columns += ["fits", "largest batch"]
    cells = []
    for row in rows:
        cell = [
            row["schedule"],
            format_bytes(row["peak"]),
            f"{row['peak']:,}",
            f"{row['peak'] / inference:.2f}",
            f"{row['saved_count']} ({format_bytes(row['saved_bytes'])})",
            row["peak_operator"],
        ]
        if room is not None:
            cell += ["yes" if row["fits"] else "no", f"{row['max_batch']:,}"]
        cells.append(cell)
    screen = console()
    screen.print(f"{model}, batch {batch}, predicted; nothing was run\n")
    title = "Peak memory" + ("" if room is None else f" against a budget of {format_bytes(room)}")
    screen.print(table(title, columns, cells))
