"""``memprop profile``: run one step and say where every byte went."""

from pathlib import Path
from typing import Annotated, Any

import typer

from memprop.cli import options


def profile(
    depth: options.Depth = 4,
    width: options.Width = 128,
    batch: options.Batch = 256,
    schedule: Annotated[
        str,
        typer.Option(help="textbook, lean, every:4, sqrt, revolve:3, budget:8MiB or microbatch:4."),
    ] = "lean",
    mode: Annotated[str, typer.Option(help="train or inference.")] = "train",
    activation: options.Activation = "relu",
    loss: options.Loss = "cross_entropy",
    bias: options.Bias = True,
    l2: options.L2 = 0.0,
    dtype: options.DType = "float32",
    optimizer: options.Optimizer = "none",
    seed: options.Seed = 0,
    data: options.Data = "digits",
    out: Annotated[
        Path | None, typer.Option(help="A folder for the trace, its tables and figures.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Run one real step and say where every byte went.

    For example:

    memprop profile --depth 4 --width 128 --batch 256 --schedule textbook
    """
    from memprop.checks import check_positive_integer
    from memprop.cli.model import check_room, described
    from memprop.engine.step import simulate, trace
    from memprop.report.step import write_step
    from memprop.sweep.batches import arrays_for

    made = described(
        depth=depth,
        width=width,
        data=data,
        activation=activation,
        loss=loss,
        bias=bias,
        l2=l2,
        dtype=dtype,
        seed=seed,
    )
    size = check_positive_integer("batch", batch)
    how: dict[str, Any] = {"schedule": schedule, "mode": mode, "optimizer": optimizer}
    predicted = simulate(made.model, size, **how)
    check_room(predicted.peak)
    arrays = arrays_for(made.model, made.data, size, mode, seed)
    step = trace(made.model, *arrays, **how)
    inference = simulate(made.model, size, mode="inference")
    if out is not None:
        write_step(step, out)
    printer = _print_json if as_json else _print_tables
    printer(made.model, step, predicted.peak, inference, out)


def _print_json(
    model: Any, step: Any, predicted_peak: int, inference: Any, out: Path | None
) -> None:
    from memprop.cli.output import print_json

    outputs = {k: v for k, v in step.outputs.items() if isinstance(v, float)}
    print_json(
        {
            "model": repr(model),
            **step.about,
            **outputs,
            "peak": step.peak,
            "predicted_peak": predicted_peak,
            "peak_operator": step.peak_operator,
            "peak_by_category": step.peak_by_category(),
            "inference_peak": inference.peak,
            "saved_bytes": step.saved_bytes,
            "saved_count": len(step.saved),
            "intermediates": [found._asdict() for found in step.saved],
            "out": None if out is None else str(out),
        }
    )


def _print_tables(
    model: Any, step: Any, predicted_peak: int, inference: Any, out: Path | None
) -> None:
    from memprop.cli.output import breakdown, cached, console
    from memprop.units import format_bytes

    screen = console()
    schedule, batch = step.about["schedule"], step.about["batch"]
    screen.print(f"{model}, batch {batch}, {schedule}")
    screen.print(
        f"peak {format_bytes(step.peak)} ({step.peak:,} bytes) at {step.peak_operator}; "
        f"predicted {predicted_peak:,} bytes"
    )
    if "loss" in step.outputs:
        screen.print(f"loss {step.outputs['loss']:.6f}")
    screen.print("", breakdown(step), "")
    if step.saved:
        screen.print(cached(step), "")
    if step.about["mode"] == "train":
        screen.print(
            f"Training keeps {format_bytes(step.saved_bytes)} of intermediates for backward, "
            "beside the parameters and as many bytes again for their gradients. Prediction keeps "
            "none: it needs the parameters and the larger of two neighbouring layers, "
            f"{format_bytes(inference.peak)} ({inference.peak:,} bytes). Training takes "
            f"{step.peak / inference.peak:.1f} times as much."
        )
    if out is not None:
        screen.print(f"trace, tables and figures: {out}")
