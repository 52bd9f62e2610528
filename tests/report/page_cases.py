"""Sweeps and traces that the tests of pages are made of; nothing here is run for long."""

import itertools

import matplotlib.pyplot as plt

import memprop as mp
from memprop.report.build import build_report
from memprop.report.page.sweep import sweep_page
from memprop.sweep.examples import load_examples, store_examples
from memprop.sweep.measurement import Measurement
from memprop.sweep.results import frame
from memprop.sweep.spec import load_spec
from memprop.traces.recorder import Recorder

WIDTH = 24
DEPTHS, BATCHES = (1, 2, 6), (8, 32, 128)
HOSTILE = (
    "</script><script>document.title='run'</script><img src=x onerror=\"document.title='run'\">"
)

SPEC = f"""
name = "page"
title = '''A sweep {HOSTILE}'''
[grid]
depth = [1, 2, 6]
batch = [8, 32, 128]
width = {WIDTH}
mode = ["train", "inference"]
schedule = ["textbook", "lean", "sqrt"]
activation = "tanh"
"""

ENVIRONMENT = {"command": ["memprop", "sweep", f"{HOSTILE}.toml"], "versions": {"numpy": HOSTILE}}


def model(depth):
    return mp.MLP([64, *[WIDTH] * depth, 10], activation="tanh")


def traced(depth, batch, schedule):
    mode = "inference" if schedule == "inference" else "train"
    return mp.simulate(model(depth), batch, schedule=schedule, mode=mode)


def results():
    """A row for each trial, as a sweep would store it; one witness is made up."""
    rows = []
    schedules = ("textbook", "lean", "sqrt", "inference")
    for depth, batch, schedule in itertools.product(DEPTHS, BATCHES, schedules):
        trace = traced(depth, batch, schedule)
        rows.append(
            {
                "depth": depth, "batch": batch, "width": WIDTH, "schedule": schedule,
                "mode": "inference" if schedule == "inference" else "train",
                "activation": "tanh", "optimizer": "none", "loss": "cross_entropy",
                "bias": True, "l2": 0.0, "dtype": "float32",
                **Measurement.of_step(trace).columns(), "status": "ok",
                "ledger_peak": trace.peak, "seed": 0,
                "tracemalloc_peak": trace.peak + 1000 + depth, "step_seconds": 0.001 * depth,
            }
        )  # fmt: skip
    return frame(rows)


def spec_in(folder, text=SPEC):
    path = folder / "spec.toml"
    path.write_text(text, encoding="utf-8")
    return load_spec(path)


def examples_in(folder, spec, table):
    """What the sweep would store for its report."""
    store_examples(spec, folder, table)
    return load_examples(folder)


def page_of(folder, table, text=SPEC):
    """The page of the sweep above, with ``table`` for its results."""
    spec = spec_in(folder, text)
    report = build_report(spec, table, ENVIRONMENT, examples_in(folder, spec, table))
    page = sweep_page(report, text)
    plt.close("all")
    return page


def hostile_trace():
    """A step whose every name is HTML."""
    recorder = Recorder()
    maker = recorder.operator(HOSTILE, "forward", layer=1, site=HOSTILE)
    reader = recorder.operator(f"{HOSTILE}.dx", "backward", layer=1, site=HOSTILE)
    number = recorder.variable(HOSTILE, "activation", (4,), HOSTILE, 16, layer=1, site=HOSTILE)
    recorder.allocate(number, 0, 16, "forward", maker)
    recorder.read(number, 0, 16, "backward", reader)
    recorder.free(number, 0, 16, "end")
    return recorder.trace({"framework": HOSTILE, HOSTILE: HOSTILE})
