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

import importlib.util
import inspect
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import Any

from memprop.errors import (
    InvalidTypeError,
    InvalidValueError,
    MempropError,
    UserCodeError,
    unknown_name,
)
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

    arguments = _arguments(given)
    sys.stderr.write(f"memprop: running {where}, which is your own code\n")
    with _printing_to_stderr() if as_json else nullcontext():
        factory = _in_users_code(lambda: _load(where))
        _check_arguments(factory, arguments)
        made = _in_users_code(lambda: factory(**arguments))
        trace = _in_users_code(lambda: trace_of(made, simulated=simulated))
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


@contextmanager
def _printing_to_stderr() -> Iterator[None]:
    """What is printed inside goes to stderr, from C and from other processes too."""
    sys.stdout.flush()
    stdout = os.dup(1)
    try:
        os.dup2(2, 1)
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)


def _arguments(given: Sequence[str]) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    for name, value in map(_argument, given):
        if name in arguments:
            raise InvalidValueError(f"--arg {name}=... is given twice: give it once")
        arguments[name] = value
    return arguments


def _argument(text: str) -> tuple[str, Any]:
    """Name and value of ``layers=4``: the value is read as JSON; what is not JSON is a text."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise InvalidValueError(f"--arg must be name=value, got {text!r}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _check_arguments(factory: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    try:
        signature = inspect.signature(factory)
    except ValueError:  # of some functions written in C nothing is known: the call will tell
        return
    name = getattr(factory, "__name__", type(factory).__name__)  # a partial has none
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise InvalidValueError(
            f"{error}: the factory is {name}{signature}; give what it takes as --arg name=value"
        ) from None


def _load(where: str) -> Callable[..., Any]:
    source, colon, name = where.rpartition(":")
    if not colon or not source or not name:
        raise InvalidValueError(f"expected my_script.py:make_model, got {where!r}")
    module = _from_file(Path(source)) if source.endswith(".py") else _imported(source)
    found = getattr(module, name, None)
    if not callable(found):
        known = [key for key, value in vars(module).items() if callable(value) and key[0] != "_"]
        raise unknown_name(f"function in {source}:", name, known)
    return found


def _from_file(path: Path) -> Any:
    if not path.is_file():
        raise InvalidValueError(f"there is no file {str(path)!r}")
    sys.path.insert(0, str(path.resolve().parent))  # as `python my_script.py` does
    taken = path.stem in sys.modules or path.stem in sys.stdlib_module_names
    name = f"{path.stem}_of_the_user" if taken else path.stem  # json.py is not to replace json
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # noqa: S101, PT018 - it ends in .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _imported(name: str) -> Any:
    if not all(part.isidentifier() for part in name.split(".")):
        raise InvalidValueError(
            f"{name!r} is neither a file that ends in .py nor the name of a module: expected "
            "my_script.py:make_model or package.module:make_model"
        )
    sys.path.insert(0, "")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise InvalidValueError(f"cannot import {name!r}: {error}") from None


def _in_users_code(do: Callable[[], Any]) -> Any:
    """What ``do`` returns. An error in it becomes one line, with the place where it was raised.

    Raises:
        UserCodeError: the user's code raised something that is not an error of memprop's.
    """
    try:
        return do()
    except (MempropError, MemoryError, KeyboardInterrupt):
        raise
    except BaseException as error:  # sys.exit() too: whoever reads stdout waits for a trace
        raise UserCodeError(
            f"your code failed at {_place(error)}: {type(error).__name__}: {_told(error)}"
        ) from error


def _place(error: BaseException) -> str:
    """File and line that raised an error, or that cannot be read."""
    if isinstance(error, SyntaxError) and error.filename is not None:
        return f"{Path(error.filename).name}:{error.lineno}"
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(place.filename).name}:{place.lineno}"


def _told(error: BaseException) -> str:
    return error.msg if isinstance(error, SyntaxError) else str(error)


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
