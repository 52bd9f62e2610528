"""Witnesses of a step that share nothing with memprop: autograd's own hooks, PyTorch's MemTracker,
and the CPU allocator as the profiler sees it."""

import gc
import warnings
from contextlib import nullcontext
from itertools import accumulate

import asks_for_torch  # noqa: F401
import torch
from torch.distributed._tools.mem_tracker import MemTracker
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils._pytree import tree_leaves


def call(module, inputs):
    if isinstance(inputs, dict):
        return module(**inputs)
    return module(*inputs) if isinstance(inputs, tuple) else module(inputs)


def scalar(output):
    """A loss for any output: the sum of all that can be differentiated in it."""
    leaves = [leaf for leaf in tree_leaves(output) if leaf.requires_grad]
    if len(leaves) == 1 and leaves[0].numel() == 1:
        return leaves[0]
    return torch.stack([leaf.float().sum() for leaf in leaves]).sum()


def casting(autocast, inputs=None):
    device = next((x.device.type for x in tree_leaves(inputs) if torch.is_tensor(x)), "cpu")
    return nullcontext() if autocast is None else torch.autocast(device, dtype=autocast)


def step(module, inputs, optimizer=None, autocast=None):
    """A training step as people write it."""
    with casting(autocast, inputs):
        output = call(module, inputs)
        loss = scalar(output)
    loss.backward()
    if optimizer is not None:
        optimizer.step()
    return output, loss


def hooked_bytes(module, inputs, autocast=None):
    """Sizes of the storages that autograd saves in a forward pass, sorted; each counts once.

    Parameters and buffers, which are there anyway, are left out, and so are storages without bytes:
    how many of those a checkpoint makes differs among versions of PyTorch.
    """
    known = {t.untyped_storage()._cdata for t in (*module.parameters(), *module.buffers())}
    saved = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        saved[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda packed: packed):
        with casting(autocast, inputs):
            held = scalar(call(module, inputs))
        del held
    return sorted(filter(None, (s.nbytes() for key, s in saved.items() if key not in known)))


def saved_bytes(trace):
    """Sizes of what a trace says is saved, sorted, without those that are zero."""
    return sorted(kept.bytes for kept in trace.saved if kept.bytes)


def mem_tracker_peak(module, inputs, optimizer):
    """The peak of a step in bytes, from ``torch.distributed._tools.mem_tracker``."""
    tracker = MemTracker()
    tracker.track_external(module, optimizer, *tree_leaves(inputs))
    with tracker:
        held = step(module, inputs, optimizer)
        del held
    (on_cpu,) = tracker.get_tracker_snapshot("peak").values()
    return on_cpu["Total"]


def given_bytes(module, inputs):
    """Bytes of what is there before a step: parameters, buffers and inputs, each storage once."""
    tensors = (*module.parameters(), *module.buffers(), *tree_leaves(inputs))
    storages = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())


def allocations(module, inputs, optimizer=None, autocast=None):
    """Every allocation (positive) and release (negative) of the CPU allocator in a step, in bytes.

    The profiler hooks into the allocator itself: it sees the scratch of kernels, too.
    """
    gc.collect()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Warning: Profiler clears events")  # PyTorch 2.11
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            held = step(module, inputs, optimizer, autocast)
    del held
    events = profiler.profiler.kineto_results.events()
    changes = [event for event in events if event.name() == "[memory]"]
    return [event.nbytes() for event in sorted(changes, key=lambda event: event.start_ns())]


def allocator_steps(step, count):
    """What the CPU allocator adds at most in each of some steps, and what it has added at its end.

    Those are bytes above what was there when the step began. The first step is none of them: of
    what was there before the profiler the allocator does not tell when it is released.
    """
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        for number in range(count + 1):
            with record_function(f"step {number}"):
                step()
    events = sorted(profiler.profiler.kineto_results.events(), key=lambda event: event.start_ns())
    changes = [(event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]"]
    spans = [event for event in events if event.name().startswith("step ")]
    found = []
    for span in spans[1:]:
        within = range(span.start_ns(), span.start_ns() + span.duration_ns() + 1)
        live = list(accumulate((size for at, size in changes if at in within), initial=0))
        found.append((max(live), live[-1]))
    return found


def allocator_peak(module, inputs, optimizer=None, autocast=None):
    """The peak of the CPU allocator in a step, with what was there before: bytes."""
    live = accumulate(allocations(module, inputs, optimizer, autocast))
    return given_bytes(module, inputs) + max(live)
