"""What a real GPU did, allocation by allocation, against what the ledger assumes.

The recording is of four blocks of masked attention on an H100 (PyTorch 2.11, CUDA 13), three steps:
``events`` are allocations ("a", bytes, address) and frees ("f", bytes, address), and the marks of a
step say how many allocations came before each of its parts.
"""

import gzip
import json
from pathlib import Path

import pytest

RECORDING = Path(__file__).parent / "recordings" / "masked_attention.json.gz"
BATCH, TIME, WIDTH, NUMBER, BLOCKS = 16, 256, 512, 4, 4
PACKED = 3 * BATCH * TIME * WIDTH * NUMBER
"""Bytes of the gradients of queries, keys and values beside each other."""


@pytest.fixture(scope="module")
def recording():
    return json.loads(gzip.decompress(RECORDING.read_bytes()))


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
