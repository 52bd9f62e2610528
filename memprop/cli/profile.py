"""``memprop profile``: run one step and show where every byte went."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from memprop.cli import options

_OF_A_FACTORY = {"factory", "arg", "simulated", "out", "as_json"}
"""What can be given with a factory; everything else describes a model of memprop's own."""


@options.describe_model(depth=4, width=128)
def profile(
    describe: Callable[[], Any],
    context: typer.Context,
    factory: Annotated[
        str | None,
        typer.Argument(
            help="my_script.py:make_model: your own code, which is run. It returns (module, "
            "inputs) of PyTorch, (fun, *args) of JAX, or a function of a memprop.Profiler."
        ),
    ] = None,
    arg: Annotated[
        list[str] | None, typer.Option(help="name=value for the factory; may come again.")
    ] = None,
    simulated: Annotated[
        bool, typer.Option("--simulated", help="Predict the step of a PyTorch module; run nothing.")
    ] = False,
    batch: options.Batch = 256,
    schedule: Annotated[
        str,
        typer.Option(help="textbook, lean, every:4, sqrt, revolve:3, budget:8MiB or microbatch:4."),
    ] = "lean",
    mode: Annotated[str, typer.Option(help="train or inference.")] = "train",
    optimizer: options.Optimizer = "none",
    update: options.Update = "at_end",
    out: Annotated[
        Path | None, typer.Option(help="A folder for the trace, its tables and figures.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Run one real step and show where every byte went.

    For example:

    memprop profile --depth 4 --width 128 --batch 256 --schedule textbook

    memprop profile my_script.py:make_model --arg layers=4 --out step
    """
    if factory is not None:
        from memprop.cli.factory import profile_factory

        options.refuse_those_of_a_model(context, _OF_A_FACTORY)
        profile_factory(factory, arg or [], simulated=simulated, out=out, as_json=as_json)
        return
    if arg or simulated:
        raise typer.BadParameter("--arg and --simulated need a factory, as my_script.py:make_model")
    _profile_own(describe(), batch, schedule, mode, optimizer, update, out, as_json)


def _profile_own(
    made: Any,
    batch: int,
    schedule: str,
    mode: str,
    optimizer: str,
    update: str,
    out: Path | None,
    as_json: bool,
) -> None:
    from memprop.checks import check_positive_integer
    from memprop.cli.model import check_room
    from memprop.engine.step import Step, simulate
    from memprop.probes import WITNESSES
    from memprop.report.step import write_step
    from memprop.sweep.batches import arrays_for

    size = check_positive_integer("batch", batch)
    step_options: dict[str, Any] = {
        "schedule": schedule,
        "mode": mode,
        "optimizer": optimizer,
        "update": update,
    }
    predicted = simulate(made.model, size, **step_options)
    check_room(predicted.peak)
    arrays = arrays_for(made.model, made.data, size, mode, made.model.seed)
    step = Step(made.model, size, allocator="heap", **step_options)
    step(*arrays)
    trace = step.trace
    step.release()

    def watched() -> None:
        step(*arrays)
        step.release()

    growth = WITNESSES["tracemalloc"].measure(watched)
    peaks = {
        "predicted": predicted.peak,
        "ledger": trace.peak,
        # Parameters and optimizer state are there before the step: no witness sees them grow.
        "tracemalloc": None if growth is None else growth + trace.persistent_bytes,
    }
    inference = simulate(made.model, size, mode="inference")
    if out is not None:
        write_step(trace, out)
    printer = _print_json if as_json else _print_tables
    printer(made.model, trace, peaks, inference, out)


def _print_json(
    model: Any, step: Any, peaks: dict[str, int | None], inference: Any, out: Path | None
) -> None:
    from memprop.cli.output import document_of, print_json

    outputs = {k: v for k, v in step.outputs.items() if isinstance(v, float)}
    print_json(
        {
            "model": repr(model),
            **step.about,
            **outputs,
            "predicted_peak": peaks["predicted"],
            "tracemalloc_peak": peaks["tracemalloc"],
            "inference_peak": inference.peak,
            **document_of(step, out),
        }
    )


def _print_tables(
    model: Any, step: Any, peaks: dict[str, int | None], inference: Any, out: Path | None
) -> None:
    from memprop.cli.output import console, print_step
    from memprop.units import format_bytes

    screen = console()
    schedule, batch = step.about["schedule"], step.about["batch"]
    screen.print(f"{model}, batch {batch}, {schedule}")
    screen.print(
        f"peak {format_bytes(step.peak)} ({step.peak:,} bytes) at {step.peak_operator}; "
        + ", ".join(f"{name} {_told(peak, step.peak)}" for name, peak in peaks.items())
    )
    if "loss" in step.outputs:
        screen.print(f"loss {step.outputs['loss']:.6f}")
    print_step(screen, step)
    if step.about["mode"] == "train":
        screen.print(
            f"Training keeps {_kept(step)} of intermediates for backward, "
            "beside the parameters and as many bytes again for their gradients. Inference keeps "
            "none: it needs the parameters and what the layer it is at reads and writes, "
            f"{format_bytes(inference.peak)} ({inference.peak:,} bytes). Training takes "
            f"{step.peak / inference.peak:.1f} times as much."
        )
    if out is not None:
        screen.print(f"trace, tables and figures: {out}")


def _kept(step: Any) -> str:
    """What a step keeps for backward, in memory and on disk."""
    from memprop.traces.devices import DISK
    from memprop.units import format_bytes

    here = format_bytes(step.saved_bytes)
    if DISK not in step.devices:
        return here
    return f"{here} and, on disk, {format_bytes(step.on(DISK).peak)}"


def _told(peak: int | None, ledger: int) -> str:
    """A peak and its difference from the ledger's; or that this machine cannot measure it."""
    if peak is None:
        return "unknown here"
    return f"{peak:,}" if peak == ledger else f"{peak:,} ({(peak - ledger) / ledger:+.3%})"
