"""What other tools are given holds what the trace says, in the form that they document."""

import json
import math
import pickle
import pickletools
from collections import Counter
from itertools import groupby, pairwise

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from cases import data, model
from prometheus_client.openmetrics.parser import text_string_to_metric_families

import memprop as mp
from memprop.errors import InvalidValueError, OutputError
from memprop.terms import CATEGORIES
from memprop.traces.events import KINDS
from memprop.traces.exports.format import Format
from memprop.traces.exports.formats import FORMATS
from memprop.traces.recorder import Recorder

NASTY = 'a;b "c" \\ <b>\n$x$ \u00e9'


def nasty_trace():
    """Names and sites that a format might stumble over, views, and two lives of one variable."""
    told = Recorder()
    x = told.variable(NASTY, "input", (2, 5), "float32", 40, site="my file.py:7")
    w = told.variable("W", "parameter", (), "float64", 8, site="encoder.layers.0", layer=0)
    z = told.variable("z", "activation", (0,), "float32", 0, layer=1)
    view = told.variable("view", "activation", (5, 2), "float32", 40)
    forward = told.operator(NASTY, "forward", site="encoder.layers.0", flops=10)
    backward = told.operator("again", "backward")
    told.allocate(x, 0, 40, "setup")
    told.allocate(w, 1, 8, "setup")
    told.allocate(view, 0, 40, "forward", forward)
    told.read(x, 0, 40, "forward", forward)
    told.allocate(z, 2, 0, "forward", forward)
    told.free(x, 0, 40, "forward", forward)
    told.free(view, 0, 40, "forward", forward)
    told.allocate(view, 3, 48, "backward", backward)
    told.read(view, 3, 48, "backward", backward)
    told.free(view, 3, 48, "end")
    return told.trace({"schedule": NASTY, "batch": 2, "flops": 10, "2nd": math.inf})


def real_trace():
    return mp.trace(model(), *data(model(), 16), schedule="textbook", optimizer="adam")


TRACES = {
    "lean": lambda: mp.simulate(mp.MLP([64, 32, 32, 10]), 16),
    "recomputing": lambda: mp.simulate(mp.MLP([64, *[32] * 9, 10]), 16, schedule="sqrt"),
    "offloading": lambda: mp.simulate(mp.MLP([64, *[32] * 9, 10]), 256, schedule="offload:x"),
    "run": real_trace,
    "nasty": nasty_trace,
}


@pytest.fixture(params=TRACES)
def trace(request):
    return TRACES[request.param]()


def test_what_lives_sums_to_the_live_bytes_of_every_category(trace):
    for event in {0, trace.peak_event, len(trace.events) // 2, len(trace.events) - 1}:
        found = Counter()
        for buffer in trace.buffers_at(event):
            found[trace.variables[buffer.variable].category] += buffer.bytes
        expected = dict(zip(CATEGORIES, trace.live.by_category[event].tolist(), strict=True))
        assert found == Counter({name: size for name, size in expected.items() if size})


# Chrome's trace event format


@pytest.fixture
def perfetto(trace, tmp_path):
    trace.to_perfetto(tmp_path / "t.json")
    return json.loads((tmp_path / "t.json").read_text())


def test_every_event_of_perfetto_has_what_the_format_asks_for(perfetto):
    for event in perfetto["traceEvents"]:
        assert event["ph"] in "XCMi"
        assert {"name", "ts", "pid", "tid"} <= set(event)
        assert event["ts"] >= 0
        if event["ph"] == "X":
            assert event["dur"] >= 0
        if event["ph"] == "C":
            assert all(type(value) is int and value >= 0 for value in event["args"].values())
    threads = {event["tid"] for event in perfetto["traceEvents"]}
    named = {e["tid"] for e in perfetto["traceEvents"] if e["name"] == "thread_name"}
    assert threads == named


def test_slices_of_perfetto_lie_end_to_end_and_name_every_operator(trace, perfetto):
    slices = [event for event in perfetto["traceEvents"] if event["ph"] == "X"]
    for thread in {event["tid"] for event in slices}:
        row = [event for event in slices if event["tid"] == thread]
        for before, after in pairwise(row):
            assert before["ts"] + before["dur"] == pytest.approx(after["ts"])
    ran = {trace.operators[n].name for n in trace.events.operator if n >= 0}
    assert ran <= {event["name"] for event in slices}
    assert {event["args"]["phase"] for event in slices} == {
        trace.phases[n] for n in trace.events.phase
    }


def test_counters_of_perfetto_are_the_live_bytes_in_the_order_of_time(trace, perfetto):
    counters = [event for event in perfetto["traceEvents"] if event["ph"] == "C"]
    times = [event["ts"] for event in counters]
    assert times == sorted(times)
    totals = [event["args"]["total"] for event in counters if event["name"] == "live bytes"]
    parts = [event["args"] for event in counters if event["name"] == "live bytes by category"]
    assert [sum(part.values()) for part in parts] == totals
    assert max(totals) == trace.peak
    assert totals[-1] == trace.live.total[-1]


def test_times_of_perfetto_are_the_recorded_ones_or_said_to_be_none(tmp_path):
    step = real_trace()
    step.to_perfetto(tmp_path / "run.json")
    run = json.loads((tmp_path / "run.json").read_text())
    assert "recorded" in run["otherData"]["times"]
    last = max(event["ts"] for event in run["traceEvents"])
    assert last == pytest.approx(step.events.nanoseconds.max() / 1000)
    mp.simulate(mp.MLP([4, 2]), 3).to_perfetto(tmp_path / "simulated.json")
    simulated = json.loads((tmp_path / "simulated.json").read_text())
    assert "nothing was run" in simulated["otherData"]["times"]


# PyTorch's memory_viz

# What the page's own reader of pickles knows (unpickle, in MemoryViz.js of PyTorch 2.13).
READABLE = {
    *("APPENDS", "BINGET", "BININT", "BININT1", "BININT2", "EMPTY_DICT", "EMPTY_LIST", "FRAME"),
    *("LONG1", "LONG_BINGET", "MARK", "MEMOIZE", "PROTO", "SETITEMS", "SHORT_BINUNICODE", "STOP"),
    *("TUPLE2", "APPEND", "NEWFALSE", "BINPUT", "BINUNICODE", "EMPTY_TUPLE", "NEWTRUE", "NONE"),
    *("BINFLOAT", "TUPLE", "TUPLE1", "TUPLE3", "LONG_BINPUT", "LIST", "DICT", "SETITEM"),
}


@pytest.fixture
def snapshot_file(trace, tmp_path):
    trace.to_memory_viz(tmp_path / "t.pickle")
    return tmp_path / "t.pickle"


def test_the_snapshot_is_a_pickle_that_the_page_can_read(snapshot_file):
    opcodes = [(op.name, arg) for op, arg, _ in pickletools.genops(snapshot_file.read_bytes())]
    assert {name for name, _ in opcodes} <= READABLE
    assert 2 <= dict(opcodes)["PROTO"] <= 4


def replayed(snapshot):
    """Blocks and segments that are there after each event of a snapshot, by address."""
    blocks, segments = {}, {}
    for action in snapshot["device_traces"][0]:
        address, size = action["addr"], action["size"]
        match action["action"]:
            case "segment_alloc":
                segments[address] = size
            case "alloc":
                assert segments[address] >= size
                blocks[address] = size
            case "free_requested":
                assert blocks[address] == size
            case "free_completed":
                assert blocks.pop(address) == size
            case "segment_free":
                assert address not in blocks
                assert segments.pop(address) == size
            case other:
                assert other == "snapshot"
        yield dict(blocks), dict(segments)


def test_the_snapshot_replays_to_the_peak_and_to_what_is_left(trace, snapshot_file):
    snapshot = pickle.loads(snapshot_file.read_bytes())  # noqa: S301 - we wrote it
    states = list(replayed(snapshot))
    assert max(sum(blocks.values()) for blocks, _ in states) == trace.peak
    blocks, segments = states[-1]
    assert sum(blocks.values()) == trace.live.total[-1]
    assert {s["address"]: s["total_size"] for s in snapshot["segments"]} == segments
    for segment in snapshot["segments"]:
        assert sum(block["size"] for block in segment["blocks"]) == segment["total_size"]
    categories = {action["category"] for action in snapshot["device_traces"][0]}
    assert "unknown" in categories  # the page fails without it
    assert categories - {"unknown"} <= set(CATEGORIES)


def test_pytorch_accepts_the_snapshot(torch, trace, snapshot_file):
    from torch.cuda import _memory_viz

    snapshot = pickle.loads(snapshot_file.read_bytes())  # noqa: S301 - we wrote it
    told = _memory_viz.trace(snapshot)
    assert f"{len(snapshot['device_traces'][0])} entries" in told
    assert f"segments: {len(snapshot['segments'])}" in _memory_viz.segsum(snapshot)
    stacks = _memory_viz.memory(snapshot, format_flamegraph=str)
    assert (
        sum(int(line.rsplit(" ", 1)[1]) for line in stacks.split("\n") if line)
        == (trace.live.total[-1])
    )
    assert "snapshot.pickle" in _memory_viz.trace_plot(snapshot)
    assert "snapshot.pickle" in _memory_viz.segment_plot(snapshot)


# Flame graphs


def test_folded_stacks_sum_to_the_peak_of_every_category(trace, tmp_path):
    trace.to_folded(tmp_path / "t.txt")
    found = Counter()
    for line in (tmp_path / "t.txt").read_text(encoding="utf-8").splitlines():
        stack, size = line.rsplit(" ", 1)
        category, phase, *_, variable = stack.split(";")
        assert phase in trace.phases
        assert variable
        found[category] += int(size)
    assert found == Counter({k: v for k, v in trace.peak_by_category().items() if v})


def test_a_stack_is_category_phase_module_operator_and_variable(tmp_path):
    nasty_trace().to_folded(tmp_path / "t.txt")
    lines = (tmp_path / "t.txt").read_text(encoding="utf-8").splitlines()
    assert "parameter;setup;encoder;layers;0;W 8" in lines
    assert "activation;backward;again;view 48" in lines
    mp.simulate(mp.MLP([4, 3, 2]), 5, schedule="textbook").to_folded(tmp_path / "t.txt")
    text = (tmp_path / "t.txt").read_text(encoding="utf-8")
    assert "activation;forward;layer 1;linear_1;z1 60\n" in text


def test_the_speedscope_profile_keeps_to_the_file_format(trace, tmp_path):
    trace.to_speedscope(tmp_path / "t.json")
    document = json.loads((tmp_path / "t.json").read_text())
    assert document["$schema"] == "https://www.speedscope.app/file-format-schema.json"
    (profile,) = document["profiles"]
    assert (profile["type"], profile["unit"]) == ("sampled", "bytes")
    assert len(profile["samples"]) == len(profile["weights"])
    assert sum(profile["weights"]) == profile["endValue"] - profile["startValue"] == trace.peak
    frames = document["shared"]["frames"]
    assert all(isinstance(frame["name"], str) for frame in frames)
    for stack in profile["samples"]:
        assert frames[stack[0]]["name"] in CATEGORIES
        assert max(stack) < len(frames)


def test_speedscope_draws_each_category_and_phase_once(trace, tmp_path):
    trace.to_speedscope(tmp_path / "t.json")
    (profile,) = json.loads((tmp_path / "t.json").read_text())["profiles"]
    for depth in (1, 2):
        begun = [tuple(stack[:depth]) for stack in profile["samples"]]
        stretches = [key for key, _ in groupby(begun)]
        assert len(stretches) == len(set(stretches))


# Tables


def test_the_table_holds_all_that_the_trace_knows_of_its_events(trace):
    table = trace.to_dataframe()
    pd.testing.assert_frame_equal(table[list(trace.timeline().columns)], trace.timeline())
    for name, row in zip(table["variable"], trace.events.variable, strict=True):
        assert name == trace.variables[row].name
    for row in table.itertuples():
        variable = trace.variables[trace.events.variable[row.Index]]
        assert (row.category, row.shape, row.dtype, row.variable_bytes, row.variable_site) == (
            variable.category, variable.shape, variable.dtype, variable.bytes, variable.site,
        )  # fmt: skip
        assert row.layer == variable.layer or (row.layer is pd.NA and variable.layer is None)
    for column in ("storage", "storage_bytes"):
        attribute = column.removeprefix("storage_")
        assert table[column].tolist() == getattr(trace.events, attribute).tolist()
    flops = [trace.operators[n].flops if n >= 0 else None for n in trace.events.operator]
    assert table["flops"].isna().tolist() == [count is None for count in flops]


def test_parquet_gives_the_table_back_and_says_what_was_run(tmp_path):
    step = TRACES["recomputing"]()
    step.to_parquet(tmp_path / "t.parquet")
    read = pd.read_parquet(tmp_path / "t.parquet")
    table = step.to_dataframe()
    assert list(read.columns) == list(table.columns)
    assert [tuple(shape) for shape in read["shape"]] == table["shape"].tolist()
    for column in set(table.columns) - {"shape"}:
        assert read[column].isna().tolist() == table[column].isna().tolist()
        assert read[column].dropna().tolist() == table[column].dropna().tolist()
    assert np.array_equal([KINDS.index(kind) for kind in read["kind"]], step.events.kind)
    about = json.loads(pq.read_metadata(tmp_path / "t.parquet").metadata[b"memprop.about"])
    assert about == {key: str(value) for key, value in step.about.items()}


# OpenMetrics


def samples_of(text):
    """Name, labels and value of every sample, by the reference parser; it refuses what is wrong."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_strict_parser_reads_the_numbers_of_the_trace(trace):
    samples = samples_of(trace.to_openmetrics())
    assert samples["memprop_peak_bytes", ()] == trace.peak
    assert samples["memprop_saved_bytes", ()] == trace.saved_bytes
    assert samples["memprop_saved_intermediates", ()] == len(trace.saved)
    assert samples["memprop_persistent_bytes", ()] == trace.persistent_bytes
    for name, size in trace.peak_by_category().items():
        assert samples["memprop_peak_category_bytes", (("category", name),)] == size
    (info,) = (dict(labels) for name, labels in samples if name == "memprop_step_info")
    assert info["batch"] == str(trace.about["batch"])
    assert info["schedule"] == trace.about["schedule"]


def test_labels_stand_on_every_sample_and_the_file_holds_the_text(tmp_path):
    step = TRACES["lean"]()
    text = step.to_openmetrics(tmp_path / "t.prom", labels={"model": 'a "b"\\\n'})
    assert (tmp_path / "t.prom").read_text() == text
    assert text.endswith("# EOF\n")
    assert all(dict(labels)["model"] == 'a "b"\\\n' for _, labels in samples_of(text))


@pytest.mark.parametrize("name", ["", "two words", "2nd", "__own", "category", "caf\u00e9"])
def test_an_impossible_label_is_refused_by_name(name):
    with pytest.raises(InvalidValueError, match="cannot be the name of a label"):
        TRACES["lean"]().to_openmetrics(labels={name: "x"})


# Files

WRITERS = ["save", *(f"to_{name}" for name in FORMATS if hasattr(mp.Trace, f"to_{name}"))]


def test_every_format_of_ours_has_a_method():
    assert len(WRITERS) == 1 + len(FORMATS)


def test_a_format_of_ones_own_is_known_by_name():
    peaks = Format(name="peaks", suffix=".txt", encode=lambda trace: str(trace.peak).encode())
    mp.register(peaks)
    try:
        assert FORMATS["peaks"].encode(TRACES["lean"]()) == str(TRACES["lean"]().peak).encode()
    finally:
        FORMATS.remove("peaks")


@pytest.mark.parametrize("writer", WRITERS)
def test_a_place_that_cannot_be_written_is_named(writer, tmp_path):
    step = TRACES["lean"]()
    for path in (tmp_path / "nowhere" / "t", tmp_path):
        with pytest.raises(OutputError, match=path.name):
            getattr(step, writer)(path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("writer", WRITERS)
def test_the_same_trace_gives_the_same_file(writer, tmp_path):
    step = TRACES["lean"]()
    for name in "ab":
        getattr(step, writer)(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("writer", ["to_folded", "to_openmetrics", "to_perfetto"])
def test_a_path_that_is_no_unicode_is_written_escaped(writer, tmp_path):
    told = Recorder()
    told.allocate(
        told.variable("x", "input", (1,), "int8", 1, site="caf\udce9.py:1"), 0, 1, "setup"
    )
    getattr(told.trace({"script": "caf\udce9.py"}), writer)(tmp_path / "t")
    # In a label of OpenMetrics a backslash is doubled.
    escaped = r"caf\\udce9.py" if writer == "to_openmetrics" else r"caf\udce9.py"
    assert escaped in (tmp_path / "t").read_text(encoding="utf-8")
