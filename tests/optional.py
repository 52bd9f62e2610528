"""The rule on optional packages: their tests skip where they are absent, or must not."""

import importlib
import os

import pytest


def load_optional(name: str):
    """Import an optional package, or skip; under MEMPROP_REQUIRE=all its absence is a failure."""
    try:
        return importlib.import_module(name)
    except ImportError:
        message = f"{name} is not installed"
        if os.environ.get("MEMPROP_REQUIRE") == "all":
            pytest.fail(f"{message}, and MEMPROP_REQUIRE=all asks for it")
        pytest.skip(message, allow_module_level=True)
