"""Seven billion parameters, simulated on any machine: 30 GiB that are never allocated."""

import json
import subprocess
import sys
from pathlib import Path

import asks_for_torch  # noqa: F401
import pytest

GPT = Path(__file__).parents[2] / "experiments" / "benchmarks" / "torch_models.py"
SCRIPT = """
import json, resource, runpy, sys
import torch
import memprop.torch as mpt

models = runpy.run_path(sys.argv[1])
size = models["SEVEN_BILLION"]
trace = models["simulate_gpt"](size, batch=1, time=2048)
print(json.dumps({
    "peak": trace.peak,
    "by_category": trace.peak_by_category(),
    "parameters": sum(v.bytes for v in trace.variables if v.category == "parameter") // 2,
    "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    "size": vars(size),
}))
"""


@pytest.fixture(scope="module")
def result():
    if not GPT.exists():
        pytest.skip("the models come with a checkout only")
    command = [sys.executable, "-c", SCRIPT, str(GPT)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    return json.loads(done.stdout)


def parameters_of(size):
    """Embedding and head; a block's attention, MLP and two norms; the last norm."""
    width, block = size["width"], 4 * size["width"] ** 2 + 3 * size["width"] * size["hidden"]
    norms = 2 * 2 * width
    return 2 * size["words"] * width + size["layers"] * (block + norms) + 2 * width


def test_it_has_seven_billion_parameters(result):
    assert result["parameters"] == parameters_of(result["size"])
    assert 6.5e9 < result["parameters"] < 7.5e9


def test_parameters_gradients_and_state_at_the_peak_follow_from_their_number(result):
    parameters, size = parameters_of(result["size"]), result["size"]
    # Of each block seven matrices and two norms of two; embedding, head and the last norm.
    tensors = 2 + size["layers"] * 11 + 2
    at_peak = result["by_category"]
    assert at_peak["parameter"] == 2 * parameters
    assert at_peak["parameter_gradient"] == 2 * parameters
    assert at_peak["optimizer_state"] == 2 * 2 * parameters + 4 * tensors
    assert sum(at_peak.values()) == result["peak"]


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has other units elsewhere")
def test_the_simulation_stays_below_two_gibibytes(result):
    assert result["rss"] < 2 * 2**20  # KiB
