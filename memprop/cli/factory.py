"""``memprop profile my_script.py:make_model``: one step of what a user's own code makes.

What the factory returns says which framework it is:

=============================================================  ==============================
returned                                                       profiled by
=============================================================  ==============================
``(module, inputs)`` or a dict with them, and with ``loss``,   :func:`memprop.torch.trace`, or
``target``, ``optimizer`` ... for a ``torch.nn.Module``        with --simulated ``simulate``
``(fun, *args)`` with arrays of JAX, or a dict with ``fun``,   :func:`memprop.jax.simulate`
``args`` and its options: ``optimizer``, ``has_aux`` ...
a dict with ``step``, ``args`` and options                     :func:`memprop.jax.simulate_step`
``(mlp, x, y)`` for a :class:`memprop.models.mlp.MLP`          :func:`memprop.engine.step.trace`
a function of a :class:`memprop.profiler.Profiler`             that profiler, in NumPy
=============================================================  ==============================
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from memprop.cli.users_code import factory_of, in_users_code, printing_to_stderr
from memprop.errors import InvalidTypeError, InvalidValueError
from memprop.traces.trace import Trace


def profile_factory(
    where: str, given: Sequence[str], *, simulated: bool, out: Path | None, as_json: bool
) -> None:
    """Profile what a factory makes, and print it.

    Args:
        where: "my_script.py:make_model", or "package.module:make_model".
        given: its arguments, each as "name=value".
        simulated: whether to predict the step of a module of PyTorch and run nothing.
        out: a folder for the trace, its tables and figures.
        as_json: whether to print one JSON document.
    """
    from memprop.report.step import write_step

    with printing_to_stderr() if as_json else nullcontext():
        made = factory_of(where, given).made()
        trace = in_users_code(lambda: trace_of(made, simulated=simulated))
    if out is not None:
        write_step(trace, out)
    (_print_json if as_json else _print_tables)(trace, where, out)


def trace_of(made: Any, *, simulated: bool = False) -> Trace:
    """The trace of a step of what a factory returned.

    Raises:
        InvalidTypeError: it is nothing that can be profiled.
    """
    parts = made if isinstance(made, tuple) else (made,)
    first = made.get("module") if isinstance(made, Mapping) else parts[0] if parts else None
    if _is_of("torch", "nn.Module", first):
        return _of_module(made, simulated=simulated)
    if isinstance(made, Mapping) and ("fun" in made or "step" in made):
        return _of_jax(made)
    if not simulated and isinstance(first, _mlp()) and len(parts) in (2, 3):
        from memprop.engine.step import trace

        return trace(*parts)
    if callable(first) and len(parts) > 1 and _has_arrays_of_jax(parts[1:]):
        return _of_jax({"fun": first, "args": parts[1:]})
    if simulated:
        raise InvalidTypeError(
            "--simulated is for modules of PyTorch and functions of JAX; the factory returns none"
        )
    if callable(first) and len(parts) == 1:
        return _of_numpy(first)
    raise InvalidTypeError(
        f"the factory returned {_short(made)}; expected (module, inputs) of PyTorch, (fun, *args) "
        "of JAX, (mlp, x, y) of memprop, or a function that takes a memprop.Profiler"
    )


def _of_module(made: Any, *, simulated: bool) -> Trace:
    import memprop.torch

    step = memprop.torch.simulate if simulated else memprop.torch.trace
    if isinstance(made, Mapping):
        options = dict(made)
        if "inputs" not in options:
            raise InvalidValueError("the factory's dict has no 'inputs' beside its 'module'")
        return step(options.pop("module"), options.pop("inputs"), **options)
    if not isinstance(made, tuple) or len(made) != 2:
        raise InvalidTypeError(
            f"the factory returned {_short(made)}, but a module alone cannot run: return "
            "(module, inputs), or a dict with 'module', 'inputs', 'loss', 'target', 'optimizer'"
        )
    return step(*made)


def _of_jax(made: Mapping[str, Any]) -> Trace:
    """Nothing is run, with --simulated or without."""
    import memprop.jax

    options = dict(made)
    args = options.pop("args", ())
    if "step" in options:
        return memprop.jax.simulate_step(options.pop("step"), *args, **options)
    return memprop.jax.simulate(options.pop("fun"), *args, **options)


def _of_numpy(step: Callable[[Any], object]) -> Trace:
    from memprop.profiler.profiler import Profiler

    profiler = Profiler()
    step(profiler)
    return profiler.trace


def _is_of(package: str, name: str, value: object) -> bool:
    """Whether ``value`` is an instance of a class of a package that the user's code imported."""
    found: Any = sys.modules.get(package)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is not None and isinstance(value, found)


def _has_arrays_of_jax(arguments: Sequence[Any]) -> bool:
    if "jax" not in sys.modules:
        return False
    import jax

    kinds = (jax.Array, jax.ShapeDtypeStruct)
    return any(isinstance(leaf, kinds) for leaf in jax.tree_util.tree_leaves(arguments))


def _mlp() -> type:
    from memprop.models.mlp import MLP

    return MLP


def _short(value: object) -> str:
    if isinstance(value, tuple):
        return f"a tuple of {', '.join(type(part).__name__ for part in value) or 'nothing'}"
    return f"a {type(value).__name__}"


def _print_json(trace: Trace, where: str, out: Path | None) -> None:
    from memprop.cli.output import document_of, print_json

    print_json(
        {
            "factory": where,
            **trace.about,
            "persistent_bytes": trace.persistent_bytes,
            **document_of(trace, out),
        }
    )


def _print_tables(trace: Trace, where: str, out: Path | None) -> None:
    from memprop.cli.output import console, print_step
    from memprop.units import format_bytes

    screen = console()
    about = ", ".join(f"{key} {value}" for key, value in trace.about.items())
    screen.print(f"{where}: {about}")
    screen.print(f"peak {format_bytes(trace.peak)} ({trace.peak:,} bytes) at {trace.peak_operator}")
    print_step(screen, trace)
    if out is not None:
        screen.print(f"trace, tables and figures: {out}")
