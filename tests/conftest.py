"""What all tests share: optional parts, figures that open no window, BLAS left alone."""

import os
import sys

import matplotlib
import pytest
from optional import load_optional

matplotlib.use("Agg")
os.environ["MEMPROP_BLAS"] = "off"  # measuring kernels takes seconds, and writes the user's cache

pytest_plugins = ["pytester"]
"""A pytest inside pytest, for the plugin; only the outermost conftest may name it."""


@pytest.fixture(autouse=True)
def figures_closed():
    """A figure that a test leaves open would be counted by the next test of the same process."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture(scope="session")
def torch():
    return load_optional("torch")


@pytest.fixture(scope="session")
def distributed():
    return load_optional("distributed")


@pytest.fixture(scope="session")
def jax():
    return load_optional("jax")
