"""The surroundings of a call: switches of PyTorch, and generators of random numbers."""

import random
from collections.abc import Iterator

import numpy as np
import torch


def random_states() -> tuple[object, ...]:
    """The states of the generators of Python and NumPy."""
    return random.getstate(), np.random.get_state()  # noqa: NPY002 - the user's code may use it


def set_random_states(states: tuple) -> None:
    """Make the generators of Python and NumPy go on from these states."""
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002


def torch_states() -> tuple[torch.Tensor, ...]:
    """The states of PyTorch's generators: that of the CPU, and those of GPUs that are in use."""
    with torch._C._DisableTorchDispatch():  # nothing of this is the step's
        return tuple(generator.get_state() for generator in _generators())


def set_torch_states(states: tuple[torch.Tensor, ...]) -> None:
    """Make PyTorch's generators go on from these states.

    Those that are there already are left alone: a GPU's generator that is given a state, be it its
    own, makes cuDNN begin anew with the random numbers of dropout in recurrent layers.
    """
    with torch._C._DisableTorchDispatch():
        for generator, state in zip(_generators(), states, strict=False):
            if not torch.equal(generator.get_state(), state):
                generator.set_state(state)


def seed_cudnn_again() -> None:
    """Make the next of cuDNN's recurrent layers take up a new seed, as if none had seen it."""
    with torch._C._DisableTorchDispatch():
        for generator in torch.cuda.default_generators:
            generator.set_state(generator.get_state())


def _generators() -> Iterator[torch.Generator]:
    yield torch.default_generator
    if torch.cuda.is_initialized() and not torch.cuda.is_current_stream_capturing():
        yield from torch.cuda.default_generators
