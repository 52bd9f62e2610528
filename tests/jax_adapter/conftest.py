"""The adapter, where JAX is there."""

import pytest
from optional import load_optional


@pytest.fixture(scope="session")
def mpj(jax):
    import memprop.jax

    return memprop.jax


@pytest.fixture(scope="session")
def optax():
    return load_optional("optax")
