"""The rule on optional parts: their tests skip where they are absent, or must not."""

import importlib
import os
import shutil

import pytest

_ASKED, _, _SPARED = os.environ.get("MEMPROP_REQUIRE", "").partition(" but ")

REQUIRED = _ASKED == "all"
"""Whether everything must be there, as where .ci/run tests: "all", or "all but torch"."""


def seeds(few: int, many: int) -> range:
    """Seeds of random cases: ``few`` for whoever waits, ``many`` where .ci/run tests."""
    return range(many if REQUIRED and not _SPARED else few)


thorough = pytest.mark.skipif(
    not REQUIRED or bool(_SPARED),
    reason="takes long: it runs where .ci/run tests everything (MEMPROP_REQUIRE=all)",
)
"""For tests that repeat at length what shorter ones check as well."""


def load_optional(name: str):
    """Import an optional package, or skip.

    Under MEMPROP_REQUIRE=all its absence is a failure, unless it is spared: "all but torch".
    """
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
    if REQUIRED and _SPARED not in what.split("."):
        pytest.fail(f"{message}, and MEMPROP_REQUIRE={os.environ['MEMPROP_REQUIRE']} asks for it")
    pytest.skip(message, allow_module_level=True)
