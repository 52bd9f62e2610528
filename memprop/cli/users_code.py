"""A user's own code: found by name, run with arguments, its errors told in one line."""

import importlib.util
import inspect
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memprop.errors import InvalidValueError, MempropError, UserCodeError, unknown_name


@contextmanager
def printing_to_stderr() -> Iterator[None]:
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


@dataclass(frozen=True)
class Factory:
    """A user's function that makes a model.

    Attributes:
        where: "my_script.py:make_model", or "package.module:make_model".
        function: what is called.
        arguments: by name.
    """

    where: str
    function: Callable[..., Any]
    arguments: Mapping[str, Any]

    def takes(self, name: str) -> bool:
        """Whether it has a parameter of this name."""
        try:
            return name in inspect.signature(self.function).parameters
        except ValueError:  # of some functions written in C nothing is known
            return False

    def made(self, **more: Any) -> Any:
        """What it returns, given more arguments."""
        return in_users_code(lambda: self.function(**{**self.arguments, **more}))


def factory_of(where: str, given: Sequence[str]) -> Factory:
    """A function by name.

    Args:
        where: "my_script.py:make_model", or "package.module:make_model".
        given: its arguments, each as "name=value".

    Raises:
        MempropError: there is none, or it does not take the arguments.
    """
    arguments = _arguments(given)
    sys.stderr.write(f"memprop: running {where}, which is your own code\n")
    function = in_users_code(lambda: _load(where))
    _check_arguments(function, arguments)
    return Factory(where, function, arguments)


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


def in_users_code(do: Callable[[], Any]) -> Any:
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
