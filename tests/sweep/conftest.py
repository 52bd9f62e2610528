import pytest

from memprop.sweep.spec import GridSpec, SweepSpec


@pytest.fixture
def spec():
    """Six trials."""
    grid = GridSpec(depth=(1, 2, 4), batch=(8, 16), width=(32,))
    return SweepSpec(name="small", title="A small sweep", grid=grid)
