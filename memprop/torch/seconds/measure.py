"""How long a call takes on the device at hand."""

import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import psutil
import torch

from memprop.torch.seconds.calls import CallKind
from memprop.torch.seconds.made import arguments_of
from memprop.torch.state.ambient import set_torch_states, torch_states

RUNS: Final = 3
"""How often a call runs after a warm-up, at least."""
MOST_RUNS: Final = 20
ENOUGH_SECONDS: Final = 0.05
"""Short calls run for so long."""
LONG_SECONDS: Final = 0.1
"""A call whose warm-up takes longer is not run again."""
MOST_BYTES: Final = 2**30
"""Calls with more operands and results are not run."""

_READS_STATE: Final = frozenset(
    {
        torch.ops.aten.mkldnn_rnn_layer_backward,
        torch.ops.aten._cudnn_rnn_backward,
        torch.ops.aten.miopen_rnn_backward,
    }
)
"""Kernels that read what their library wrote for itself: given other bytes they may do anything."""


now = time.perf_counter
"""The time in seconds."""


def can_run(kind: CallKind, moved_bytes: int) -> bool:
    """Whether a call is one of PyTorch's own, on devices at hand, with room for its operands."""
    if kind.operator.namespace != "aten" or kind.operator._overloadpacket in _READS_STATE:
        return False
    devices = {tensor.device for tensor in kind.tensors}
    needed = max(moved_bytes, sum(tensor.bytes for tensor in kind.tensors))
    return all(needed <= _room(torch.device(device)) for device in devices or {"cpu"})


def _room(device: torch.device) -> int:
    """Bytes that a call may take; -1 where none can run."""
    if device.type == "cpu":
        return min(MOST_BYTES, psutil.virtual_memory().available // 4)
    if device.type == "cuda" and torch.cuda.is_available():
        return torch.cuda.mem_get_info(device)[0] // 4
    return -1


def timed(kind: CallKind) -> float | None:
    """The median time of a call in seconds; ``None`` if it does not run.

    Not the least time: on a machine that does other things too, threads wait for one another, in a
    step as well. On one of two busy cores the medians added up to 1.02 of a step, the least times
    to 0.79.
    """
    try:
        args, kwargs = arguments_of(kind)
        return _median(lambda: kind.operator(*args, **kwargs), _clock_of(kind))
    except Exception:  # whatever a kernel has against these numbers
        return None


def _median(run: Callable[[], Any], clock: Callable[[], float]) -> float:
    first = _once(run, clock)
    if first > LONG_SECONDS:
        return first
    found: list[float] = []
    while len(found) < RUNS or (sum(found) < ENOUGH_SECONDS and len(found) < MOST_RUNS):
        found.append(_once(run, clock))
    return statistics.median(found)


def _once(run: Callable[[], Any], clock: Callable[[], float]) -> float:
    begin = clock()
    result = run()
    end = clock()
    del result  # what is made lives on in a step
    return end - begin


def _clock_of(kind: CallKind) -> Callable[[], float]:
    devices = {torch.device(tensor.device) for tensor in kind.tensors}
    on_gpu = [device for device in devices if device.type == "cuda"]
    if not on_gpu:
        return time.perf_counter

    def clock() -> float:
        for device in on_gpu:
            torch.cuda.synchronize(device)
        return time.perf_counter()

    return clock


@contextmanager
def unseen() -> Iterator[None]:
    """Nobody sees what runs inside the block: no mode, no autograd, no autocast, no generator."""
    states = torch_states()
    with (
        torch._C._DisableTorchDispatch(),
        torch._C.DisableTorchFunction(),
        torch._C._DisableAutocast(),
        torch.no_grad(),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            set_torch_states(states)
