"""``memprop fit``: does a training step fit, what is the largest batch, and what would help?"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from inspect import isfunction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memprop.cli import options

if TYPE_CHECKING:
    from memprop.cli.users_code import Factory
    from memprop.torch.fitting.fit import Fit


def fit(
    factory: Annotated[
        str,
        typer.Argument(
            help="my_script.py:make_model: your own code, which is run. It returns (module, "
            "inputs) of PyTorch, or a dict with 'module', 'inputs', 'loss', 'target', 'optimizer'. "
            "If it takes 'batch', it is called with others too; else its inputs are resized."
        ),
    ],
    arg: Annotated[
        list[str] | None, typer.Option(help="name=value for the factory; may come again.")
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            help="Memory to fit into, such as '24 GiB': on a GPU that of the allocator. If not "
            "given, all that the GPU has beside CUDA's context."
        ),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(parser=options.integer, help="Samples per step; the factory's own default."),
    ] = None,
    device: Annotated[str, typer.Option(help="cuda, which needs no GPU, or cpu.")] = "cuda",
    gpu: Annotated[str, typer.Option(help="Which GPU cuda is, such as h100 or rtx4090.")] = "h100",
    settings: Annotated[
        str, typer.Option(help="Of CUDA's allocator, as in PYTORCH_CUDA_ALLOC_CONF.")
    ] = "",
    out: Annotated[
        Path | None, typer.Option(help="A folder for the step's trace, tables, figures and page.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Say whether a training step fits into memory, without running it.

    Prints the peak and the largest batch and, if the step does not fit, what would. Exits with 1 if
    it does not fit.

    For example:

    memprop fit my_script.py:make_model --budget "24 GiB" --device cuda
    """
    from memprop.cli.users_code import factory_of, printing_to_stderr

    with printing_to_stderr() if as_json else nullcontext():
        made = factory_of(factory, arg or [])
        given = {"budget": budget, "device": device, "gpu": gpu, "settings": settings}
        name, found = _found(made, batch, given)
    if out is not None:
        from memprop.report.step import write_step

        write_step(found.trace, out)
    (_print_json if as_json else _print_tables)(factory, name, found)
    if not found.fits:
        raise typer.Exit(1)


def _found(factory: "Factory", batch: int | None, given: dict[str, Any]) -> "tuple[str, Fit]":
    """The name of the model, and the answer."""
    from memprop.cli.users_code import in_users_code
    from memprop.torch.fitting.fit import fit as answer
    from memprop.torch.fitting.resized import batch_of, resized
    from memprop.torch.fitting.without_numbers import made_without_numbers

    first = parts_of_module(
        made_without_numbers(factory.made if batch is None else partial(_at, factory, batch))
    )
    own = batch_of(first["inputs"])
    size = own if batch is None else batch
    waiting = [first]

    def make(wanted: int) -> tuple[Any, ...]:
        is_first = waiting and wanted == size
        parts = waiting.pop() if is_first else parts_of_module(_at(factory, wanted))
        inputs, target = parts["inputs"], parts.get("target")
        if not factory.takes("batch"):
            inputs, target = resized((inputs, target), own, wanted)
        return parts["module"], inputs, target, _made_optimizer(parts)

    extra = {key: value for key, value in first.items() if key not in _PER_BATCH}
    if _made_optimizer(first) is None:
        extra["optimizer"] = first.get("optimizer")
    with _progress() as progress:
        found = in_users_code(
            lambda: answer(make, batch=size, progress=progress, **{**extra, **given})
        )
    return str(found.trace.about["model"]), found


_PER_BATCH = ("module", "inputs", "target", "optimizer")
_ENTRIES = (*_PER_BATCH, "loss", "mode", "autocast", "micro_batches", "warmup")


def _at(factory: "Factory", batch: int) -> Any:
    return factory.made(batch=batch) if factory.takes("batch") else factory.made()


def parts_of_module(made: Any, command: str = "memprop fit") -> Mapping[str, Any]:
    """What a factory of a module of PyTorch returned, by name.

    Raises:
        InvalidTypeError: it is no module of PyTorch with its inputs.
    """
    from torch import nn

    from memprop.errors import InvalidTypeError, unknown_name

    parts = made
    if isinstance(made, tuple) and len(made) in (2, 3):
        parts = dict(zip(("module", "inputs", "target"), made, strict=False))
    complete = isinstance(parts, Mapping) and {"module", "inputs"} <= parts.keys()
    if not complete or not (isinstance(parts["module"], nn.Module) or isfunction(parts["module"])):
        raise InvalidTypeError(
            f"the factory returned a {type(made).__name__}: {command} is for modules of PyTorch; "
            "return (module, inputs), or a dict with 'module', 'inputs', 'loss', 'target', "
            "'optimizer'"
        )
    for name in parts:
        if name not in _ENTRIES:
            raise unknown_name("entry of the factory's dict", name, _ENTRIES)
    return parts


def _made_optimizer(parts: Mapping[str, Any]) -> Any:
    """The optimizer of this very module; ``None`` if the factory gives what makes one."""
    optimizer = parts.get("optimizer")
    return optimizer if hasattr(optimizer, "param_groups") else None


@contextmanager
def _progress() -> Iterator[Callable[[str, int], None]]:
    """Shows on stderr what is simulated: in a bar, or as lines where it is no terminal."""
    from memprop.torch.fitting.largest import MOST_SIMULATIONS
    from memprop.waiting import waiting

    with waiting("simulating") as describe:

        def tell(what: str, number: int) -> None:
            text = f"simulation {number} of at most {MOST_SIMULATIONS}: {what}"
            if describe is None:
                sys.stderr.write(f"memprop: {text}\n")
            else:
                describe(text)

        yield tell


def _print_json(factory: str, name: str, found: "Fit") -> None:
    import json

    from memprop.cli.output import print_json

    print_json(
        {
            "factory": factory,
            "model": name,
            **{key: found.trace.about.get(key) for key in ("device", "gpu", "mode", "optimizer")},
            "batch": found.asked.batch,
            "budget": found.budget,
            "fits": found.fits,
            "allocated_peak": found.asked.peak,
            "reserved_peak": found.asked.reserved,
            "exceeded_at": found.asked.failed_at,
            "retries": found.asked.retries,
            "library_bytes": found.library_bytes,
            "unknown_kernels": found.trace.about.get("unknown_kernels"),
            "guessed_bytes": found.trace.guessed_bytes,
            "context_bytes": found.context_bytes,
            "margin": found.margin,
            "max_batch": found.largest,
            "does_not_fit_from": found.too_large,
            "simulations": found.simulations,
            "ways": json.loads(found.table().iloc[1:].to_json(orient="records")),
        }
    )


def _print_tables(factory: str, name: str, found: "Fit") -> None:
    from memprop.cli.output import console, table
    from memprop.units import format_bytes

    screen, about = console(), found.trace.about
    where = f"{about['gpu']} ({about['device']})" if "gpu" in about else about["device"]
    screen.print(
        f"{factory}: {name}, batch {found.asked.batch}, {about['mode']}, optimizer "
        f"{about['optimizer']}, {where}; simulated, nothing was run\n"
    )
    screen.print(_verdict(found), soft_wrap=True)
    screen.print("", table("What the step takes", ("", "size", "bytes"), _sizes(found)), "")
    for line in _remarks(found):
        screen.print(line, soft_wrap=True)
    screen.print(_largest(found), soft_wrap=True)
    if found.ways:
        rows = [
            (
                way.name,
                "-" if way.tried is None else format_bytes(way.tried.reserved or way.tried.peak),
                "yes" if way.fits else "no",
                way.cost,
            )
            for way in found.ways
        ]
        screen.print("", table("What would help", ("way", "peak", "fits", "cost"), rows), "")
        for way in found.ways:
            if way.fits or way.why_not:
                screen.print(f"{way.name}: {way.why_not or way.how}", soft_wrap=True)


def _verdict(found: "Fit") -> str:
    from memprop.units import format_bytes

    budget, needed = format_bytes(found.budget), format_bytes(found.needed)
    if not found.fits:
        text = (
            f"It does not fit into {budget}: it needs {needed}, and first exceeds the budget at "
            f"{found.asked.failed_at}."
        )
    elif found.asked.retries:
        text = (
            f"It fits into {budget}, but only because the allocator gives back unused segments "
            f"{found.asked.retries} times, which is slow: else it needs {needed}."
        )
    else:
        text = f"It fits into {budget}: it needs {needed}."
    if found.is_close:
        text += " The two are closer than the margin of error."
    return text


def _sizes(found: "Fit") -> list[tuple[str, str, str]]:
    from memprop.units import format_bytes

    if found.asked.reserved is None:
        sizes = {"peak of live bytes": found.asked.peak}
    else:
        sizes = {
            "peak reserved by the allocator": found.asked.reserved,
            "peak allocated": found.asked.peak,
            "  workspaces that cuBLAS and cuDNN keep": found.library_bytes,
            "  estimated scratch of kernels": found.trace.guessed_bytes,
            "CUDA's context, beside the budget (about)": found.context_bytes,
        }
    return [(name, format_bytes(size), f"{size:,}") for name, size in sizes.items()]


def _remarks(found: "Fit") -> Iterator[str]:
    """How sure the numbers are."""
    if found.margin is not None:
        yield (
            f"Margin of error: over 35 training steps recorded on an H100, reserved peaks were off "
            f"by at most {found.margin:.0%}, allocated ones by {found.allocated_margin:.1%}; the "
            "median is 0."
        )
    if unknown := found.trace.about.get("unknown_kernels"):
        yield f"Nothing is known of the scratch of {unknown}: it is counted as 0."
    if not found.is_measured:
        yield f"Nothing was measured on {found.trace.about['gpu']}: expect a larger error there."


def _largest(found: "Fit") -> str:
    if found.largest == 0 and (found.too_large or 0) > 1:
        return f"Largest batch: below {found.too_large:,}; none that was tried fits."
    if found.largest == 0:
        return "Largest batch: none fits, not even the smallest."
    if found.too_large is None:
        return f"Largest batch: {found.largest:,} or more."
    if found.too_large - found.largest > max(1, found.largest // 50):
        return f"Largest batch: at least {found.largest:,} ({found.too_large:,} does not fit)."
    return f"Largest batch: {found.largest:,} ({found.too_large:,} does not fit)."
