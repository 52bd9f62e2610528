"""A trace answers what its events say; the traces here are made by hand."""

import gzip
import json
import pickle
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from cases import data, model

import memprop as mp
from memprop.errors import OutputError, TraceFormatError
from memprop.terms import PHASES
from memprop.traces.events import ALLOCATE, FREE, READ, Events, TracedOperator, TracedVariable
from memprop.traces.recorder import Recorder
from memprop.traces.trace import Trace

VARIABLES = (
    TracedVariable("x", "input", 0, (2, 5), "float32", 40),
    TracedVariable("y", "input", None, (2,), "int64", 16),
    TracedVariable("W", "parameter", 1, (5, 5), "float32", 100),
    TracedVariable("z", "activation", 1, (2, 5), "float32", 40),
    TracedVariable("h", "activation", 1, (2, 5), "float32", 40),
    TracedVariable("dh", "activation_gradient", 1, (2, 5), "float32", 40),
    TracedVariable("scratch", "workspace", None, (7,), "uint8", 7),
    TracedVariable("dW", "parameter_gradient", 1, (5, 5), "float32", 100),
)
X, Y, W, Z, H, DH, SCRATCH, DW = range(8)
OPERATORS = (
    TracedOperator("linear", "forward", 1),
    TracedOperator("relu", "forward", 1),
    TracedOperator("loss", "loss", None),
    TracedOperator("loss.dh", "backward", 1),
    TracedOperator("linear.dW", "backward", 1),
)
# kind, phase, operator, variable, storage, bytes
ROWS = [
    (ALLOCATE, "setup", -1, X, 0, 40),
    (ALLOCATE, "setup", -1, Y, 1, 16),
    (ALLOCATE, "setup", -1, W, 2, 100),
    (ALLOCATE, "forward", 0, Z, 3, 40),
    (READ, "forward", 0, X, 0, 40),
    (READ, "forward", 0, W, 2, 100),
    (ALLOCATE, "forward", 1, H, 3, 40),  # h is written over z
    (READ, "forward", 1, Z, 3, 40),
    (FREE, "forward", 1, Z, 3, 40),
    (READ, "loss", 2, H, 3, 40),
    (READ, "loss", 2, Y, 1, 16),
    (ALLOCATE, "backward", 3, DH, 4, 40),
    (ALLOCATE, "backward", 3, SCRATCH, 5, 7),
    (READ, "backward", 3, H, 3, 40),
    (READ, "backward", 3, Y, 1, 16),
    (FREE, "backward", 3, SCRATCH, 5, 7),
    (ALLOCATE, "backward", 4, DW, 6, 100),
    (READ, "backward", 4, DH, 4, 40),
    (READ, "backward", 4, X, 0, 40),
    (FREE, "backward", 4, DH, 4, 40),
    (FREE, "end", -1, X, 0, 40),
    (FREE, "end", -1, Y, 1, 16),
    (FREE, "end", -1, H, 3, 40),
]
LIVE = [40, 56, 156, 196, 196, 196, 196, 196, 196, 196, 196, 236, 243, 243, 243, 236, 336, 336, 336,
        296, 256, 240, 200]  # fmt: skip


def made(rows=ROWS, variables=VARIABLES):
    table = [(k, PHASES.index(p), o, v, s, b, 10 * n) for n, (k, p, o, v, s, b) in enumerate(rows)]
    columns = np.array(table, dtype=np.int64).T
    return Trace(events=Events(*columns), variables=variables, operators=OPERATORS)


def test_live_bytes_count_a_shared_buffer_once():
    assert made().timeline()["live_bytes"].tolist() == LIVE


def test_the_peak_and_what_it_is_made_of():
    trace = made()
    assert (trace.peak, trace.peak_operator) == (336, "linear.dW")
    assert trace.peak_by_category() == {
        "input": 56, "parameter": 100, "buffer": 0, "activation": 40, "activation_gradient": 40,
        "parameter_gradient": 100, "optimizer_state": 0, "workspace": 0,
        "communication": 0,
    }  # fmt: skip
    assert trace.persistent_bytes == 100


def test_cached_intermediates_are_what_forward_made_and_backward_reads():
    table = made().intermediates()
    x, h = table.to_dict("records")
    assert (x["variable"], x["saved_by"], x["reused_by"]) == ("x", "input", ("linear.dW",))
    assert (x["born"], x["last_read"], x["freed"]) == (0, 18, 20)
    assert (h["variable"], h["saved_by"], h["reused_by"]) == ("h", "relu", ("loss.dh",))
    assert (h["born"], h["last_read"], h["freed"], h["reuses"]) == (6, 13, 22, 1)
    assert (h["shape"], h["dtype"], h["bytes"], h["layer"]) == ((2, 5), "float32", 40, 1)
    assert not h["recomputed"]
    assert made().saved_bytes == 80  # the labels, which only the loss reads, are none


def test_what_is_computed_again_is_not_kept():
    later = [(k, p, o, v, 9 if v == H else s, b) for k, p, o, v, s, b in ROWS[11:]]
    again = [(FREE, "loss", 2, H, 3, 40), (ALLOCATE, "backward", 1, H, 9, 40)]
    trace = made([*ROWS[:11], *again, *later])
    h = trace.intermediates().set_index("variable").loc["h"]
    assert h["recomputed"]
    assert [found.variable for found in trace.saved] == ["x"]
    assert trace.saved_bytes == 40


def test_live_bytes_are_what_was_allocated_less_what_was_freed():
    for schedule in ("textbook", "lean"):
        table = mp.simulate(model(3), 8, schedule=schedule, optimizer="adam").timeline()
        signed = table["bytes"] * table["kind"].map({"allocate": 1, "free": -1, "read": 0})
        assert (signed.cumsum() == table["live_bytes"]).all()
        categories = ["input", "parameter", "activation", "activation_gradient",
                      "parameter_gradient", "optimizer_state", "workspace"]  # fmt: skip
        assert (table[categories].sum(axis=1) == table["live_bytes"]).all()


def test_times_are_there_if_something_ran_and_never_run_backwards():
    mlp = model(2)
    seconds = mp.trace(mlp, *data(mlp)).timeline()["seconds"]
    assert seconds.is_monotonic_increasing
    assert seconds.iloc[-1] > 0
    assert mp.simulate(mlp, 6).timeline()["seconds"].isna().all()


def test_training_against_inference():
    mlp = model(2)
    training, inference = mp.simulate(mlp, 9), mp.simulate(mlp, 9, mode="inference")
    table = training.compare(inference).set_index("category")
    assert table.loc["total", "a_bytes"] == training.peak
    assert table.loc["total", "difference_bytes"] == training.peak - inference.peak
    assert table.loc["total", "ratio"] == training.peak / inference.peak
    assert (table["a_bytes"].iloc[:-1].sum(), table["b_bytes"].iloc[:-1].sum()) == (
        training.peak,
        inference.peak,
    )


def test_a_plot_goes_where_it_is_asked_to():
    figure, axes = plt.subplots()
    assert made().plot(axes) is axes
    assert axes.get_ylabel() == "live bytes"
    plt.close(figure)
    plt.close(made().plot().figure)


def test_a_saved_trace_is_the_same_trace(tmp_path):
    mlp = model(2)
    for trace in (made(), mp.trace(mlp, *data(mlp)), mp.simulate(mlp, 6, mode="inference")):
        trace.save(tmp_path / "a.json.gz")
        loaded = mp.Trace.load(tmp_path / "a.json.gz")
        assert loaded == trace
        assert loaded.about == trace.about
        assert loaded.intermediates().equals(trace.intermediates())
        assert loaded.timeline().equals(trace.timeline())
        assert loaded.outputs is None
        loaded.save(tmp_path / "b.json.gz")
        assert (tmp_path / "a.json.gz").read_bytes() == (tmp_path / "b.json.gz").read_bytes()


def document(**changes):
    """The content of a trace file, with top-level entries changed; ``None`` drops one."""
    from memprop.traces import io

    parts = {
        "format": io.FORMAT, "schema": io.SCHEMA, "about": {},
        "variables": [{**v.__dict__} if hasattr(v, "__dict__") else _fields(v) for v in VARIABLES],
        "operators": [_fields(operator) for operator in OPERATORS],
        "events": {name: getattr(made().events, name).tolist() for name in
                   ("kind", "phase", "operator", "variable", "storage", "bytes", "nanoseconds")},
    }  # fmt: skip
    parts.update(changes)
    return {key: value for key, value in parts.items() if value is not None}


def _fields(record):
    return {name: getattr(record, name) for name in record.__slots__}


def column(name, values):
    return document(events={**document()["events"], name: values})


def gzipped(content):
    return gzip.compress(json.dumps(content).encode())


EVENTS = document()["events"]
DAMAGED = {
    "empty": b"",
    "text": b"no trace",
    "truncated": gzipped(document())[:-20],
    "no json": gzip.compress(b"{"),
    "a list": gzipped([1, 2]),
    "another format": gzipped({"format": "memory snapshot"}),
    "a newer schema": gzipped(document(schema=99)),
    "no events": gzipped(document(events=None)),
    "no variables": gzipped(document(variables=None)),
    "a column less": gzipped(document(events={"kind": [0]})),
    "unequal columns": gzipped(column("bytes", [1])),
    "texts as numbers": gzipped(column("bytes", ["many"] * len(ROWS))),
    "nested": gzipped(column("bytes", [[1]] * len(ROWS))),
    "too large": gzipped(column("bytes", [2**70] * len(ROWS))),
    "no event at all": gzipped(document(events={name: [] for name in EVENTS})),
    "no size": gzipped(
        document(variables=[{**entry, "bytes": None} for entry in document()["variables"]])
    ),
    "negative size": gzipped(column("bytes", [-1] * len(ROWS))),
    "no such variable": gzipped(column("variable", [99] * len(ROWS))),
    "no such operator": gzipped(column("operator", [-2] * len(ROWS))),
    "no such phase": gzipped(column("phase", [17] * len(ROWS))),
    "born twice": gzipped(column("kind", [ALLOCATE] * len(ROWS))),
    "read before birth": gzipped(column("kind", [READ, *EVENTS["kind"][1:]])),
    "unknown category": gzipped(
        document(variables=[{**entry, "category": "waste"} for entry in document()["variables"]])
    ),
    "pickle": pickle.dumps(document()),
    "pickle in gzip": gzip.compress(pickle.dumps(document())),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_or_foreign_file_gives_one_clear_line(tmp_path, case):
    path = tmp_path / "trace.json.gz"
    path.write_bytes(DAMAGED[case])
    with pytest.raises(TraceFormatError) as caught:
        mp.Trace.load(path)
    assert "\n" not in str(caught.value)


def test_the_document_these_damages_start_from_is_sound(tmp_path):
    path = tmp_path / "trace.json.gz"
    path.write_bytes(gzipped(document()))
    assert mp.Trace.load(path) == made()


def test_files_that_cannot_be_read_or_written(tmp_path):
    with pytest.raises(TraceFormatError, match="No such file"):
        mp.Trace.load(tmp_path / "nowhere")
    with pytest.raises(TraceFormatError, match="directory"):
        mp.Trace.load(tmp_path)
    with pytest.raises(OutputError, match="cannot write"):
        made().save(tmp_path / "nowhere" / "trace.json.gz")


def test_events_that_contradict_each_other_are_refused():
    with pytest.raises(TraceFormatError, match="event 23 allocates a variable that is alive"):
        made([*ROWS, (ALLOCATE, "end", -1, W, 2, 100)])
    with pytest.raises(TraceFormatError, match="event 23 frees a variable that is not alive"):
        made([*ROWS, (FREE, "end", -1, X, 0, 40)])


def test_a_result_that_is_computed_again_only_for_its_neighbour_is_an_intermediate_all_the_same():
    # The second run of the kept mask's operator makes h too, which nothing reads a second time.
    mlp = mp.MLP([8, *[16] * 6, 4], dropout=0.1, dropout_mask="store")
    trace = mp.simulate(mlp, 32, schedule="every:2")
    table = trace.intermediates().set_index("variable")
    assert (table["last_read"] > table["born"]).all()
    events = trace.timeline()
    reads = events[events["kind"] == "read"].groupby("variable")["event"].max()
    assert (table["last_read"] == reads[table.index]).all()


def told(*rows):
    """A trace of variables a, b, ... of 8 bytes each, from ``(kind, phase, operator, variable)``.

    An operator is a letter as well; the buffer is that of the variable, or follows as a fifth.
    """
    recorder, variables, operators = Recorder(), {}, {}
    for kind, phase, operator, variable, *buffer in rows:
        if variable not in variables:
            variables[variable] = recorder.variable(variable, "activation", (2,), "float32", 8)
        if operator and operator not in operators:
            operators[operator] = recorder.operator(operator, phase)
        where = buffer[0] if buffer else variables[variable]
        what = getattr(recorder, kind)
        what(variables[variable], where, 8, phase, operators.get(operator, -1))
    return recorder.trace()


def test_the_peak_is_the_first_event_of_the_largest():
    trace = told(
        ("allocate", "forward", "f", "a"),
        ("free", "forward", "f", "a"),
        ("allocate", "backward", "g", "b"),
    )
    assert (trace.peak_event, trace.peak_operator) == (0, "f")


RECOMPUTED = (
    ("allocate", "forward", "f", "a"),
    ("read", "forward", "g", "a"),
    ("free", "forward", "g", "a"),
    ("allocate", "backward", "seed", "d"),
    ("allocate", "forward", "f", "a"),
    ("read", "backward", "h", "a"),
    ("free", "backward", "h", "a"),
)


def test_an_intermediate_that_is_computed_again_dies_with_its_last_life():
    (found,) = told(*RECOMPUTED).intermediates().itertuples()
    assert (found.born, found.last_read, found.freed, found.recomputed) == (0, 5, 6, True)


def test_what_is_computed_again_and_not_read_is_not_called_recomputed():
    """Backward reads the first life; the second is there for another result of its operator."""
    trace = told(
        ("allocate", "forward", "f", "a"),
        ("allocate", "backward", "seed", "d"),
        ("read", "backward", "h", "a"),
        ("free", "backward", "h", "a"),
        ("allocate", "forward", "f", "a"),
        ("free", "forward", "f", "a"),
    )
    (found,) = trace.intermediates().itertuples()
    assert (found.reuses, found.recomputed, found.freed) == (1, False, 5)
    assert trace.saved_bytes == 8


def test_a_read_is_as_large_as_what_is_read_and_not_as_its_buffer():
    recorder = Recorder()
    whole = recorder.variable("whole", "input", (8,), "float32", 32)
    view = recorder.variable("view", "input", (2,), "float32", 8)
    recorder.allocate(whole, 0, 32, "setup")
    recorder.allocate(view, 0, 32, "forward")
    recorder.read(view, 0, 32, "forward")
    assert recorder.trace().timeline()["bytes"].tolist() == [32, 0, 8]


def test_a_variable_is_read_and_freed_where_it_lives():
    alive = ("allocate", "forward", "f", "a", 0)
    for kind in ("read", "free"):
        with pytest.raises(TraceFormatError, match=f"event 1 {kind}s a variable that is not alive"):
            told(alive, (kind, "forward", "f", "a", 1))


def test_seconds_are_those_of_the_nanoseconds():
    recorder = Recorder()
    variable = recorder.variable("a", "input", (2,), "float32", 8)
    recorder.allocate(variable, 0, 8, "setup", at=0)
    recorder.free(variable, 0, 8, "end", at=2_500_000_000)
    assert recorder.trace().timeline()["seconds"].tolist() == [0.0, 2.5]


@pytest.mark.parametrize("column", [n for n in Events.__dataclass_fields__ if n != "nanoseconds"])
def test_traces_that_differ_in_one_number_are_not_equal(column):
    ours, theirs = made(), made()
    assert ours == theirs
    changed = getattr(ours.events, column).copy()
    changed[-1] += 1
    assert ours.events != replace(theirs.events, **{column: changed})


def test_times_make_no_difference():
    events = made().events
    assert events == replace(events, nanoseconds=events.nanoseconds + 1)


def test_a_buffer_is_that_of_the_oldest_variable_in_it():
    found = {buffer.variable for buffer in made().buffers_at(6)}  # h lies over z, which lives still
    assert found == {X, Y, W, Z}
    assert {buffer.variable for buffer in made().buffers_at(8)} == {X, Y, W, H}
