"""Traces that adapters write: names, phases, sites, and their way through a file."""

import pytest

import memprop as mp
from memprop.terms import PHASES
from memprop.traces.recorder import Recorder


@pytest.fixture
def recorder():
    """A product of an input, kept for backward, with a temporary in a phase of its own."""
    made = Recorder()
    x = made.variable("x", "input", (2, 3), "float32", 24)
    y = made.variable("y", "activation", (2, 3), "float32", 24, site="net.py:7")
    scratch = made.variable("y", "workspace", (5,), "int8", 5)
    forward = made.operator("mul", "forward", site="net.py:7")
    backward = made.operator("mul", "backward")
    made.allocate(x, 0, 24, "setup")
    made.read(x, 0, 24, "forward", forward)
    made.allocate(y, 1, 24, "forward", forward, at=5)
    made.allocate(scratch, 2, 5, "my phase")
    made.free(scratch, 2, 5, "my phase")
    made.read(y, 1, 24, "backward", backward, at=9)
    made.free(y, 1, 24, "backward", backward, at=10)
    return made


def test_the_trace_is_what_was_told(recorder):
    trace = recorder.trace({"framework": "test"})
    assert trace.peak == 24 + 24 + 5
    assert trace.phases == (*PHASES, "my phase")
    assert trace.peak_operator == "setup"
    (kept,) = trace.saved
    assert (kept.variable, kept.saved_by, kept.reused_by) == ("y", "mul", ("mul#2",))
    assert kept.site == "net.py:7"
    assert trace.timeline()["phase"].tolist()[3] == "my phase"


def test_names_that_come_again_are_numbered_and_never_collide():
    recorder = Recorder()
    told = ["a", "a#2", "a", "a", "b"]
    for name in told:
        recorder.variable(name, "activation", (), "float32", 4)
    names = [variable.name for variable in recorder.variables]
    assert len(set(names)) == len(told)
    assert (names[0], names[1], names[4]) == ("a", "a#2", "b")


def test_what_is_learned_later_is_told_later(recorder):
    recorder.rename(1, category="parameter_gradient", name="W")
    trace = recorder.trace()
    assert trace.peak_by_category()["parameter_gradient"] == 24
    assert trace.variables[1].name == "W"


def test_phases_and_sites_survive_a_file(recorder, tmp_path):
    trace = recorder.trace()
    trace.save(tmp_path / "step.json.gz")
    loaded = mp.Trace.load(tmp_path / "step.json.gz")
    assert loaded == trace
    assert loaded.variables[1].site == "net.py:7"


def test_an_empty_record_is_no_trace():
    with pytest.raises(mp.MempropError, match="nothing was recorded"):
        Recorder().trace()
