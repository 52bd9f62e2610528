"""What tests of plans share; without PyTorch they are skipped with the reason."""

import pytest


@pytest.fixture(scope="module")
def mpt(torch):
    import memprop.torch

    return memprop.torch


@pytest.fixture(scope="module")
def zoo(torch):
    import torch_zoo

    return torch_zoo


@pytest.fixture(scope="module")
def choices(torch):
    import checkpoint_choices

    return checkpoint_choices
