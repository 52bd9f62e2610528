"""What surrounds a call: switches of PyTorch, and generators of random numbers."""

import random

import numpy as np
import torch


def switches() -> tuple[object, ...]:
    """The switches of this thread that say how operators run."""
    return (
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.is_autocast_enabled("cuda"),
        torch.get_autocast_dtype("cpu"),
        torch.get_autocast_dtype("cuda"),
        torch.get_default_dtype(),
        torch.are_deterministic_algorithms_enabled(),
        torch._C._len_torch_function_stack(),
    )


def random_states() -> tuple[object, ...]:
    """The states of the generators of Python and NumPy."""
    return random.getstate(), np.random.get_state()  # noqa: NPY002 - the user's code may use it


def set_random_states(states: tuple) -> None:
    """Make the generators of Python and NumPy go on from these states."""
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002


def drawn() -> tuple[object, ...]:
    """What is another one after any of the global generators has been used."""
    _, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002
    with torch._C._DisableTorchDispatch():  # nothing of this is the step's
        own = torch.get_rng_state().numpy().tobytes()
        if torch.cuda.is_initialized() and not torch.cuda.is_current_stream_capturing():
            own += torch.cuda.get_rng_state().numpy().tobytes()
    return random.getstate(), np.asarray(keys).tobytes(), *rest, own
