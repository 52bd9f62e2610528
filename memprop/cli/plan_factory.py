"""``memprop plan my_script.py:make_model``: what to compute again in a step of a user's module."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memprop.cli.fit import parts_of_module
from memprop.cli.users_code import factory_of, in_users_code, printing_to_stderr

if TYPE_CHECKING:
    import pandas as pd

    from memprop.torch.checkpoint.plan import CheckpointPlan

_NOT_PLANNED = ("mode", "warmup")
"""Plans are for training steps after the first."""


def plan_factory(
    where: str,
    given: Sequence[str],
    *,
    room: int | None,
    step_options: dict[str, Any],
    out: Path | None,
    as_json: bool,
) -> None:
    """Plan for what a factory makes, and print it.

    Args:
        where: "my_script.py:make_model", or "package.module:make_model".
        given: its arguments, each as "name=value".
        room: the budget in bytes; ``None`` for the whole curve.
        step_options: device, gpu, cost, compiled, offload and bandwidth.
        out: a file for the plan.
        as_json: whether to print one JSON document.
    """
    from memprop.torch.fitting.without_numbers import made_without_numbers

    with printing_to_stderr() if as_json else nullcontext():
        made = factory_of(where, given)
        parts = dict(parts_of_module(made_without_numbers(made.made), "memprop plan"))
        _check_trains(parts)
        parts = {key: value for key, value in parts.items() if key not in _NOT_PLANNED}
        found = in_users_code(lambda: _found(parts, room, step_options))
    if room is None:
        (_print_curve_json if as_json else _print_curve)(where, found)
        return
    if out is not None:
        found.save(out)
    (_print_json if as_json else _print_plan)(where, found)


def _check_trains(parts: Mapping[str, Any]) -> None:
    from memprop.errors import InvalidValueError

    if parts.get("mode", "train") != "train":
        raise InvalidValueError(
            f"memprop plan is for training steps, and the factory says mode={parts['mode']!r}: "
            "inference keeps nothing for a backward pass, so there is nothing to recompute"
        )


def _found(parts: dict[str, Any], room: int | None, step_options: dict[str, Any]) -> Any:
    from memprop.torch.auto import plan_for
    from memprop.torch.frontier import frontier

    module, inputs = parts.pop("module"), parts.pop("inputs")
    options = {**parts, **step_options}
    if room is None:
        return frontier(module, inputs, **options)
    return plan_for(module, inputs, room, **options)


def _print_curve_json(where: str, found: "pd.DataFrame") -> None:
    from memprop.cli.output import print_json

    rows = found.drop(columns="plan").to_dict(orient="records")
    print_json({"factory": where, "model": found["plan"].iloc[0].module, "frontier": rows})


def _print_curve(where: str, found: "pd.DataFrame") -> None:
    from memprop.cli.output import console, table
    from memprop.units import format_bytes

    offloads = bool(found["offloaded_bytes"].any())
    cells = [
        (
            format_bytes(int(row["peak_bytes"])),
            f"{row['peak_bytes']:,}",
            format_bytes(int(row["saved_bytes"])),
            *([format_bytes(int(row["offloaded_bytes"]))] if offloads else []),
            f"{row['recomputed_flops']:,}",
            f"{row['slowdown']:.3f}",
        )
        for row in found.to_dict(orient="records")
    ]
    screen = console()
    screen.print(f"{where}: {found['plan'].iloc[0].module}; simulated, nothing was run\n")
    host = ["on the host"] if offloads else []
    columns = ["peak", "bytes", "saved", *host, "FLOPs again", "slow-down"]
    screen.print(table("Memory against recomputation", columns, cells))


def _print_json(where: str, plan: "CheckpointPlan") -> None:
    from memprop.cli.output import print_json

    print_json(
        {
            "factory": where,
            "model": plan.module,
            "budget": plan.budget,
            "peak": plan.peak,
            "peak_without": plan.peak_without,
            "slowdown": plan.slowdown,
            "cost": plan.cost,
            "compiled": plan.compiled,
            "recomputed_flops": plan.recomputed_flops,
            "saved_bytes": plan.saved_bytes,
            "offloaded_bytes": plan.offloaded_bytes,
            "kept": list(plan.kept),
            "blocks": [vars(block) for block in plan.blocks],
        }
    )


def _print_plan(where: str, plan: "CheckpointPlan") -> None:
    from memprop.cli.output import console, table
    from memprop.units import format_bytes

    screen = console()
    screen.print(
        f"{where}: {plan.module}, budget {format_bytes(plan.budget or 0)}; simulated, nothing was "
        "run\n"
    )
    screen.print(
        f"peak {format_bytes(plan.peak)} ({plan.peak:,} bytes), without recomputation "
        f"{format_bytes(plan.peak_without)} ({plan.peak_without:,} bytes); predicted slow-down "
        f"{plan.slowdown:.3f}, by {'FLOPs' if plan.cost == 'flops' else 'seconds'}",
        soft_wrap=True,
    )
    cells = [
        (
            block.block or "the module",
            str(block.runs),
            block.keeps,
            format_bytes(block.saved_bytes),
            format_bytes(block.kept_bytes),
            *([format_bytes(block.offloaded_bytes)] if plan.offloaded else []),
            f"{block.recomputed_flops:,}",
        )
        for block in plan.blocks
    ]
    host = ["on the host"] if plan.offloaded else []
    columns = ["block", "runs", "keeps", "saved", "kept", *host, "FLOPs again"]
    screen.print("", table("What the blocks do", columns, cells))
    for reason in plan.kept:
        screen.print(f"kept, as it cannot run again: {reason}", soft_wrap=True)
