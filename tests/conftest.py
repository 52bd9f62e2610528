"""What all tests share: the rule on optional parts, and figures that open no window."""

import importlib
import os

import matplotlib
import pytest

matplotlib.use("Agg")


def load_optional(name: str):
    """Import an optional package, or skip; under MEMPROP_REQUIRE=all its absence is a failure."""
    try:
        return importlib.import_module(name)
    except ImportError:
        message = f"{name} is not installed"
        if os.environ.get("MEMPROP_REQUIRE") == "all":
            pytest.fail(f"{message}, and MEMPROP_REQUIRE=all asks for it")
        pytest.skip(message, allow_module_level=True)


@pytest.fixture(scope="session")
def torch():
    return load_optional("torch")


@pytest.fixture(scope="session")
def distributed():
    return load_optional("distributed")


@pytest.fixture(scope="session")
def jax():
    return load_optional("jax")
