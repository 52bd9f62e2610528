"""``memprop plan``: what to keep and what to recompute, for one budget or for all."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from memprop.cli import options

_OF_A_FACTORY = {
    *("factory", "arg", "budget", "frontier", "device", "gpu", "cost", "compiled", "offload"),
    *("bandwidth", "out", "as_json"),
}
"""What can be given with a factory; everything else describes a model of memprop's own."""
_OF_A_FACTORY_ALONE = ("arg", "device", "gpu", "cost", "compiled", "bandwidth", "out")


@options.describe_model(depth=8, width=256)
def plan(
    describe: Callable[[], Any],
    context: typer.Context,
    factory: Annotated[
        str | None,
        typer.Argument(
            help="my_script.py:make_model: your own code, which is run. It returns (module, "
            "inputs) of PyTorch, or a dict with 'module', 'inputs', 'loss', 'target', 'optimizer'."
        ),
    ] = None,
    arg: Annotated[
        list[str] | None, typer.Option(help="name=value for the factory; may come again.")
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="Of a factory's module: cuda, which needs no GPU, or cpu."),
    ] = None,
    gpu: Annotated[str, typer.Option(help="Which GPU cuda is, such as h100 or rtx4090.")] = "h100",
    cost: Annotated[
        str | None,
        typer.Option(help="What a factory's plan minimizes: flops (if not given) or seconds."),
    ] = None,
    compiled: Annotated[
        bool, typer.Option("--compiled", help="Plan for torch.compile, with --budget.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="A file for a factory's plan: see CheckpointPlan.load.")
    ] = None,
    batch: options.Batch = 512,
    budget: Annotated[str | None, typer.Option(help="Memory to keep to, such as '8 MiB'.")] = None,
    frontier: Annotated[
        bool, typer.Option("--frontier", help="The whole trade-off, for every budget.")
    ] = False,
    offload: Annotated[
        str | None,
        typer.Option(
            help="With a factory: cpu lets results wait in the host's memory. Without one, with "
            "--frontier: a folder; adds a row for storing variables there."
        ),
    ] = None,
    bandwidth: Annotated[
        str | None,
        typer.Option(help="Bytes a second that are copied to the host, or back, as '25 GB'."),
    ] = None,
    optimizer: options.Optimizer = "none",
    update: options.Update = "at_end",
    as_json: options.Json = False,
) -> None:
    """Plan what to keep and what to recompute.

    For example:

    memprop plan --depth 64 --width 256 --batch 512 --budget "40 MiB"

    memprop plan my_script.py:make_model --budget "8 GiB" --out plan.json
    """
    from memprop.errors import InvalidValueError
    from memprop.schedules.optimal import check_budget

    if frontier == (budget is not None):
        raise InvalidValueError("plan needs one of --budget SIZE and --frontier")
    if offload is not None and factory is None and not frontier:
        raise InvalidValueError("--offload DIR adds a row to the table of --frontier: name both")
    if out is not None and frontier:
        raise InvalidValueError("--out writes the plan for one budget: name --budget SIZE")
    if compiled and frontier:
        raise InvalidValueError("--compiled plans for one budget: name --budget SIZE")
    room = None if budget is None else check_budget(budget)
    if factory is not None:
        from memprop.cli.plan_factory import plan_factory

        options.refuse_those_of_a_model(context, _OF_A_FACTORY)
        step: dict[str, Any] = {
            "device": device,
            "gpu": gpu,
            "cost": cost,
            "offload": offload,
            "bandwidth": bandwidth,
        }
        if compiled:
            step["compiled"] = True
        plan_factory(factory, arg or [], room=room, step_options=step, out=out, as_json=as_json)
        return
    for name in _OF_A_FACTORY_ALONE:
        if options.was_given(context, name):
            raise typer.BadParameter(f"--{name} needs a factory, as my_script.py:make_model")
    step_options = {"optimizer": optimizer, "update": update}
    made = describe()
    if room is None:
        _frontier(made.model, batch, step_options, offload, as_json)
    else:
        _budget(made.model, batch, step_options, room, as_json)


def _frontier(
    model: Any, batch: int, step_options: dict[str, str], offload: str | None, as_json: bool
) -> None:
    from memprop.cli.output import console, print_json, table
    from memprop.engine.rates import measure_rates
    from memprop.tradeoff import frontier
    from memprop.units import format_bytes
    from memprop.waiting import waiting

    with waiting("planning"):
        rates = None if offload is None else measure_rates(offload)
        found = frontier(model, batch, offload=offload, rates=rates, **step_options)
    if as_json:
        rows = found.to_dict(orient="records")
        known = {} if rates is None else {"rates": vars(rates)}
        print_json({"model": repr(model), "batch": batch, **known, "frontier": rows})
        return
    cells = [
        (
            row["strategy"],
            format_bytes(row["peak_bytes"]),
            f"{row['peak_bytes']:,}",
            f"{row['forward_flops_recomputed']:,}",
            f"{row['slowdown']:.3f}",
            *([] if rates is None else [format_bytes(row["disk_bytes"])]),
        )
        for row in found.to_dict(orient="records")
    ]
    screen = console()
    screen.print(f"{model}, batch {batch}, predicted; nothing was run")
    columns = ["strategy", "peak", "bytes", "FLOPs again", "slow-down"]
    if rates is not None:
        columns.append("on disk")
        screen.print(
            f"measured: {rates.flops:.3g} FLOPs a second, and "
            f"{format_bytes(round(rates.disk_bytes))} a second to and from {offload}"
        )
    screen.print()
    screen.print(table("Memory against recomputation", columns, cells))


def _budget(model: Any, batch: int, step_options: dict[str, str], room: int, as_json: bool) -> None:
    from memprop.cli.chart import timeline
    from memprop.cli.output import console, print_json, table
    from memprop.engine.step import simulate
    from memprop.tradeoff import is_least, schedule
    from memprop.units import format_bytes
    from memprop.waiting import waiting

    with waiting("planning"):
        found = schedule(model, batch, f"budget:{room}", **step_options)
        lean = schedule(model, batch, **step_options)
        rows, least = layers(found), is_least(found, room)
    if as_json:
        print_json(
            {
                "model": repr(model),
                "batch": batch,
                "budget": room,
                "peak": found.peak,
                "lean_peak": lean.peak,
                "flops": found.flops,
                "recomputed_flops": found.recomputed_flops,
                "slowdown": found.flops / lean.flops,
                "least": least,
                "layers": rows,
            }
        )
        return
    screen = console()
    screen.print(f"{model}, batch {batch}, budget {format_bytes(room)}; nothing was run")
    screen.print(
        f"peak {format_bytes(found.peak)} ({found.peak:,} bytes), without recomputation "
        f"{format_bytes(lean.peak)} ({lean.peak:,} bytes)"
    )
    screen.print(
        f"computed again: {found.recomputed_flops:,} FLOPs, predicted slow-down "
        f"{found.flops / lean.flops:.3f}"
    )
    screen.print(f"{_SEARCHED if least else _PLANNED}\n")
    step = simulate(model, batch, schedule=found, **step_options)
    screen.print(timeline(step, screen), "")
    columns = ["layers", "kept when backward begins", "forward runs", "computed again"]
    screen.print(table("What each layer keeps", columns, _runs(rows)))


_SEARCHED = (
    "no schedule within the budget takes fewer FLOPs, of those that run each backward operator once"
)
_PLANNED = "planned as a chain of stages, then operator by operator: a little less may be possible"


def _runs(rows: list[dict[str, Any]]) -> Iterator[tuple[str, str, int, str]]:
    """The rows of neighbouring layers that do the same as one."""
    from itertools import groupby

    def alike(row: dict[str, Any]) -> tuple[str, int, str]:
        number = str(row["layer"])
        kept = (name.removesuffix(number) for name in row["kept"])
        again = (name.removesuffix(f"_{number}") for name in row["again"])
        return ", ".join(kept) or "nothing", row["runs"], ", ".join(again) or "-"

    for (kept, runs, again), group in groupby(rows, key=alike):
        first, *_, last = [row["layer"] for row in group] * 2
        yield (str(first) if first == last else f"{first} to {last}"), kept, runs, again


def layers(schedule: Any) -> list[dict[str, Any]]:
    """For each layer what is kept when backward begins, and what is computed again."""
    from memprop.schedules.walk import walk

    graph = schedule.graph
    live: set[str] = set()
    for moment in walk(graph, schedule.actions):
        live = set(moment.live)
        if moment.operator is not None and moment.operator.phase == "backward":
            break
    runs = schedule.marks.runs
    kept = [v for v in graph.variables if v.name in live and v.category == "activation"]
    forward = [operator for operator in graph.operators if operator.phase == "forward"]
    return [
        {
            "layer": layer,
            "kept": [v.name for v in kept if v.layer == layer],
            "runs": max(runs[op.name] for op in forward if op.layer == layer),
            "again": [op.name for op in forward if op.layer == layer and runs[op.name] > 1],
        }
        for layer in sorted({op.layer for op in forward if op.layer is not None})
    ]
