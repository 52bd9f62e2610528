"""The rule on optional parts: their tests skip where they are absent, or must not."""

import importlib
import os
import shutil

import pytest

REQUIRED = os.environ.get("MEMPROP_REQUIRE") == "all"
"""Whether everything must be there, as where .ci/run tests."""


def seeds(few: int, many: int) -> range:
    """Seeds of random cases: ``few`` for whoever waits, ``many`` where .ci/run tests."""
    return range(many if REQUIRED else few)


def load_optional(name: str):
    """Import an optional package, or skip; under MEMPROP_REQUIRE=all its absence is a failure."""
    try:
        return importlib.import_module(name)
    except ImportError:
        _absent(name)


def find_program(*names: str) -> str:
    """The path of the first of ``names`` that is installed, by the same rule."""
    found = next((path for name in names if (path := shutil.which(name))), None)
    return found or _absent(" or ".join(names))


def _absent(what: str):
    message = f"{what} is not installed"
    if REQUIRED:
        pytest.fail(f"{message}, and MEMPROP_REQUIRE=all asks for it")
    pytest.skip(message, allow_module_level=True)
