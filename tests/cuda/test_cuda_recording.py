"""What a real GPU did, against what the ledger and simulations assume; no GPU is needed.

``masked_attention.json.gz`` has four blocks of masked attention on an H100 (PyTorch 2.11, CUDA 13),
three steps: ``events`` are allocations ("a", bytes, address) and frees ("f", bytes, address), and
the marks of a step say how many allocations came before each of its parts. ``h100/README.md``
describes the other recordings.
"""

import ast
import gzip
import json
from pathlib import Path

import asks_for_torch  # noqa: F401
import pytest
import torch

from memprop.torch.fake.corrections import faked
from memprop.torch.record.schema import tensors

RECORDINGS = Path(__file__).parent / "recordings"
BATCH, TIME, WIDTH, NUMBER, BLOCKS = 16, 256, 512, 4, 4
PACKED = 3 * BATCH * TIME * WIDTH * NUMBER
"""Bytes of the gradients of queries, keys and values beside each other."""


@pytest.fixture(scope="module")
def recording():
    return load("masked_attention.json.gz")


def load(name):
    return json.loads(gzip.decompress((RECORDINGS / name).read_bytes()))


def live_blocks(recording, size, begin, end):
    """How many blocks of a size live after each event of some allocations."""
    alive, count, found = {}, 0, []
    for kind, size_of_event, address, *_ in recording["events"]:
        count += kind == "a"
        if kind == "a":
            alive[address] = size_of_event
        elif kind == "f":
            alive.pop(address, None)
        if begin < count <= end:
            found.append(sum(1 for bytes_ in alive.values() if bytes_ == size))
    return found


@pytest.mark.parametrize("step", [1, 2])
def test_cuda_adds_gradients_in_place_where_the_ledger_does(recording, step):
    # Each of q, k and v gives a gradient of the packed projection; three are added up. Out of
    # place, two of them and their sum would live at once.
    marks = dict(recording["steps"][step]["marks"])
    saved = BLOCKS - 1  # the packed projections that are saved are as large
    alive = live_blocks(recording, PACKED, marks["backward"], marks["update"])
    kept = live_blocks(recording, PACKED, marks["backward"] - 1, marks["backward"])[-1]
    assert kept == BLOCKS
    assert max(alive) == saved + 2


NAMES = [name for name, one in vars(torch).items() if isinstance(one, torch.dtype)]
"""Types of numbers, by which tensors are told from other lists."""


class NotAllRecordedError(Exception):
    """A long list, of which the first element alone was recorded."""


def rebuilt(value):
    """What an operator was given, without memory."""
    if not isinstance(value, list):
        return of_text(value)
    if value[:1] == ["list"]:
        raise NotAllRecordedError
    if not is_tensor(value):
        return [rebuilt(one) for one in value]
    dtype, shape, *rest = value
    device = "cpu" if rest[-1:] == ["cpu"] else "meta"
    tensor = torch.empty(shape, dtype=getattr(torch, dtype), device=device)
    strides = next((one for one in rest if isinstance(one, list)), tensor.stride())
    return tensor.new_empty_strided(shape, strides)


def of_text(value):
    if value.startswith("torch."):  # a type, a layout or a memory format
        return getattr(torch, value.removeprefix("torch."))
    if value.startswith("cuda"):
        return torch.device("meta")
    if value in ("cpu", "inf", "-inf"):
        return torch.device("cpu") if value == "cpu" else float(value)
    return ast.literal_eval(value)


def is_tensor(recorded):
    return isinstance(recorded, list) and recorded[:1] != [] and recorded[0] in NAMES


def with_recorded(made, recorded):
    """The tensors that an operator makes, each beside what was recorded of it."""
    if is_tensor(recorded):
        yield made, recorded
    elif isinstance(recorded, list):
        for part in zip(made, recorded, strict=True):
            yield from with_recorded(*part)


LIE_OTHERWISE = {
    "aten.convolution.default",
    "aten.convolution_backward.default",
    "aten.hardswish_backward.default",
    "aten.native_batch_norm_backward.default",
}
"""Operators whose results have other strides on the "meta" device than on a GPU."""


def lies_as_recorded(made, recorded):
    _, shape, *rest = recorded
    strides = next((one for one in rest if isinstance(one, list)), None)
    if strides is None:
        lies = made.is_contiguous()
    else:  # those of dimensions of one element say nothing
        sides = zip(made.stride(), strides, shape, strict=True)
        lies = all(ours == theirs for ours, theirs, size in sides if size > 1)
    return list(made.shape) == shape and lies


def simulated(name, args, kwargs):
    """What an operator returns in a simulation."""
    namespace, packet, overload = name.split(".")
    func = getattr(getattr(getattr(torch.ops, namespace), packet), overload)
    return faked(func, args, kwargs)


def bytes_beside(given, made):
    """Bytes of the storages of some tensors that those of others do not share."""
    known = {tensor.untyped_storage()._cdata for tensor in given}
    storages = {tensor.untyped_storage()._cdata: tensor.untyped_storage() for tensor in made}
    return sum(storage.nbytes() for key, storage in storages.items() if key not in known)


def test_operators_keep_on_an_h100_what_simulations_make():
    held = 0
    for name, args, kwargs, recorded, _, kept in load("h100/operators.json.gz")["rows"]:
        if name.startswith("profiler") or name == "aten._local_scalar_dense.default":
            continue  # no tensors
        try:
            given = rebuilt(args), {key: rebuilt(value) for key, value in kwargs}
        except NotAllRecordedError:
            continue
        parts = list(with_recorded(simulated(name, *given), recorded))
        made = [one for one, beside in parts if beside[-1] != "cpu"]
        assert bytes_beside(tensors(given), made) == kept, (name, args, kwargs)
        lies = all(lies_as_recorded(*part) for part in parts)
        assert lies or name in LIE_OTHERWISE, (name, args, kwargs)
        held += 1
    assert held > 7000


def test_what_the_ledger_of_masked_attention_lacks_is_scratch_of_one_kernel():
    name = "aten._scaled_dot_product_efficient_attention_backward.default"
    masked = [BATCH, 8, TIME, WIDTH // 8]
    ((peak, kept),) = {
        (peak, kept)
        for operator, args, _, _, peak, kept in load("h100/operators.json.gz")["rows"]
        if operator == name and args[1][1] == masked and args[4] != "None"
    }
    of_queries, of_rows = BATCH * TIME * WIDTH * NUMBER, BATCH * 8 * TIME * NUMBER
    assert peak - kept == 2 * of_queries + 2 * of_rows
