"""The adapter, where JAX is there."""

import pytest


@pytest.fixture(scope="session")
def mpj(jax):
    import memprop.jax

    return memprop.jax
