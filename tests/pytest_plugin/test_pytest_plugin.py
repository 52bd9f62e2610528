"""The plugin in the hands of a user: what passes, what fails, and what is said of it."""

import json
import tracemalloc
from importlib.metadata import entry_points

import numpy as np
import pytest

import memprop as mp
from pytest_memprop import plugin
from pytest_memprop.peak import Peak, exceeded

INI = """
[pytest]
addopts = --strict-markers -p no:cacheprovider -p no:hypothesispytest
filterwarnings = error
"""


@pytest.fixture
def session(pytester):
    """Run pytest on the source of tests; with ``alone`` in a process of its own."""

    def run(source, *arguments, status=None, ini="", alone=False):
        pytester.makeini(INI + ini)
        pytester.makepyfile(test_mine=source)
        start = pytester.runpytest_subprocess if alone else pytester.runpytest_inprocess
        result = start(*arguments)
        text = "\n".join([*result.outlines, *result.errlines])
        if status is not None:
            assert result.parseoutcomes() == status, text
        return text

    run.path = pytester.path
    return run


# The marker

BODY = """
import time, tracemalloc
import numpy as np
import pytest

@pytest.mark.peak_memory("{budget}")
def test_it():
    kept = np.ones({count}, dtype=np.uint8)
    {more}
"""


def of(budget, mebibytes, more="pass"):
    return BODY.format(budget=budget, count=mebibytes * 2**20, more=more)


def test_a_test_within_its_budget_passes(session):
    session(of("9 MiB", 8), status={"passed": 1})


def test_a_test_beyond_its_budget_fails_and_names_the_line(session):
    text = session(of("7 MiB", 8, "time.sleep(0.5)"), status={"failed": 1})
    assert "peak memory 8.0 MiB" in text
    assert "by tracemalloc: the budget is 7.0 MiB (7,340,032 bytes)" in text
    assert "what lived, seen while 8.0 MiB were alive:" in text
    source = (session.path / "test_mine.py").read_text().splitlines()
    line = 1 + next(n for n, code in enumerate(source) if "np.ones" in code)
    assert f"8.0 MiB  test_mine.py:{line}" in text
    assert "Traceback" not in text


def test_what_was_there_before_the_test_does_not_count(session):
    source = of("1 MiB", 0).replace("@pytest.mark", "before = np.ones(2**23)\n\n@pytest.mark")
    session(source, status={"passed": 1})


def test_a_peak_that_the_test_itself_resets_counts(session):
    text = session(of("7 MiB", 8, "del kept; tracemalloc.reset_peak()"), status={"failed": 1})
    assert "peak memory 8.0 MiB" in text


def test_a_test_that_stops_tracemalloc_is_not_passed_off_as_measured(session):
    more = "tracemalloc.stop(); tracemalloc.start(); tracemalloc.reset_peak()"
    text = session(of("7 MiB", 1, more), status={"failed": 1}, alone=True)
    assert "the test stopped tracemalloc" in text


def test_a_failure_of_the_test_itself_is_what_is_told(session):
    text = session(of("1 MiB", 8, "assert kept.sum() == 0"), status={"failed": 1})
    assert "assert kept.sum() == 0" in text
    assert "peak memory" not in text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [('"lots"', "'lots' is no size"), ("", "takes one size"), ("1.5", "must be an integer")],
)
def test_a_budget_that_is_none_fails_with_the_usage(session, arguments, told):
    source = f"import pytest\n@pytest.mark.peak_memory({arguments})\ndef test_it(): pass\n"
    text = session(source, status={"failed": 1})
    assert told in text
    assert '@pytest.mark.peak_memory("64 MiB")' in text


def test_the_marker_is_registered(session):
    assert "@pytest.mark.peak_memory(budget)" in session("", "--markers")


def test_without_the_plugin_pytest_runs_as_ever(session):
    source = "import sys\ndef test_it(): assert 'pytest_memprop.plugin' not in sys.modules\n"
    session(source, "-p", "no:memprop", status={"passed": 1}, alone=True)


def test_the_start_of_pytest_loads_neither_memprop_nor_numpy(session):
    source = """
    import sys
    def test_it():
        assert "pytest_memprop.plugin" in sys.modules
        assert not {"memprop", "numpy", "pandas", "matplotlib"} & set(sys.modules)
    """
    session(source, status={"passed": 1}, alone=True)


def test_the_sites_are_those_of_the_moment_at_which_they_were_looked_at():
    with Peak(2**20) as peak:
        first = np.ones(4 * 2**20, dtype=np.uint8)
        peak.look()
        del first
        second = np.ones(2 * 2**20, dtype=np.uint8)
        peak.look()  # less than before
        del second
    assert peak.grown == pytest.approx(4 * 2**20, rel=0.01)
    assert peak.seen_bytes == pytest.approx(4 * 2**20, rel=0.01)
    (site, size), *_ = peak.sites
    assert site.endswith(f"test_pytest_plugin.py:{first_line()}")
    assert size == pytest.approx(4 * 2**20, rel=0.001)
    assert not tracemalloc.is_tracing()


def first_line():
    with open(__file__, encoding="utf-8") as source:  # noqa: PTH123
        return next(n for n, line in enumerate(source, 1) if "first = np.ones(4" in line)


def test_a_budget_is_measured_inside_somebody_elses_tracing():
    tracemalloc.start()
    try:
        before = np.ones(2**23, dtype=np.uint8)
        with Peak(2**20) as peak:
            kept = np.ones(2**21, dtype=np.uint8)
        assert tracemalloc.is_tracing()
        assert peak.grown == pytest.approx(2**21, rel=0.02)
        assert max(size for _, size in peak.sites) == pytest.approx(kept.nbytes, rel=0.01)
        assert before.nbytes > kept.nbytes
    finally:
        tracemalloc.stop()


def test_where_nobody_looked_in_time_that_is_said():
    peak = Peak(10)
    peak.grown = 2**20
    trace = mp.simulate(mp.MLP([64, 256, 10]), 256)
    told = exceeded(peak, [("step", trace)])
    assert "it was gone before anybody looked" in told
    assert f"at the peak of the trace 'step', {mp.format_bytes(trace.peak)}" in told
    assert "W1" in told


# The fixture

STEP = """
import memprop as mp

def test_it(memory_trace):
    trace = memory_trace(mp.MLP([64, {width}, 10]), batch=256{options})
    assert trace.peak
"""


def recorded(session):
    return json.loads((session.path / "__memory__.json").read_text())


def test_what_was_recorded_passes_and_growth_fails_with_what_grew(session):
    small, large = STEP.format(width=64, options=""), STEP.format(width=128, options="")
    text = session(small, status={"failed": 1})
    assert "no budget is recorded for test_mine.py::test_it[step]" in text
    session(small, "--memprop-update", status={"passed": 1})
    before, after = (mp.simulate(mp.MLP([64, width, 10]), 256) for width in (64, 128))
    record = recorded(session)["test_mine.py::test_it[step]"]
    assert record["peak"] == before.peak
    assert record["categories"] == {k: v for k, v in before.peak_by_category().items() if v}
    session(small, status={"passed": 1})
    text = session(large, status={"failed": 1})
    assert f"(+{mp.format_bytes(after.peak - before.peak)}" in text
    grown = after.peak_by_category()["activation"] - before.peak_by_category()["activation"]
    assert "activation: " in text
    assert f"{grown:+,} bytes" in text
    assert "W1: 16.0 KiB -> 32.0 KiB (+16.0 KiB, +16,384 bytes)" in text
    session(large, "--memprop-update", status={"passed": 1})
    session(large, status={"passed": 1})


def test_a_step_that_shrank_passes_with_a_note(session):
    session(STEP.format(width=128, options=""), "--memprop-update", status={"passed": 1})
    for workers in ([], ["-n", "2"]):
        text = session(STEP.format(width=64, options=""), *workers, status={"passed": 1})
        assert "test_mine.py::test_it[step] shrank: peak" in text
        assert "--memprop-update records it" in text


def test_a_tolerance_lets_a_peak_grow_by_a_share(session):
    session(STEP.format(width=64, options=""), "--memprop-update", status={"passed": 1})
    before, after = (mp.simulate(mp.MLP([64, width, 10]), 256).peak for width in (64, 65))
    share = after / before - 1
    grown = STEP.format(width=65, options="")
    session(grown, status={"failed": 1})
    session(grown, status={"passed": 1}, ini=f"memprop_tolerance = {share * 1.01}\n")
    session(grown, status={"failed": 1}, ini=f"memprop_tolerance = {share * 0.99}\n")
    session(STEP.format(width=65, options=", tolerance=1"), status={"passed": 1})
    text = session(STEP.format(width=65, options=", tolerance=-1"), status={"failed": 1})
    assert "the tolerance must be a share" in text


MANY = """
import memprop as mp
import pytest

@pytest.mark.parametrize("width", range(8, 16))
def test_it(memory_trace, width):
    model = mp.MLP([4, width, 2])
    for schedule in ("lean", "textbook"):
        memory_trace(mp.simulate(model, 8, schedule=schedule), name=schedule)
"""


def test_workers_record_into_one_file_and_the_rest_of_it_stays(session):
    (session.path / "__memory__.json").write_text('{"test_other.py::test_it[step]": {"peak": 1}}')
    session(MANY, "--memprop-update", "-n", "2", status={"passed": 8})
    records = recorded(session)
    assert len(records) == 17
    for width in range(8, 16):
        for schedule in ("lean", "textbook"):
            trace = mp.simulate(mp.MLP([4, width, 2]), 8, schedule=schedule)
            assert records[f"test_mine.py::test_it[{width}][{schedule}]"]["peak"] == trace.peak
    assert records["test_other.py::test_it[step]"] == {"peak": 1}
    session(MANY, "-n", "2", status={"passed": 8})
    session(MANY, status={"passed": 8})


BAD = {
    "no batch": ("memory_trace(mp.MLP([4, 2]))", "a model needs a batch size"),
    "no model": ("memory_trace(3, batch=2)", "model must be a model"),
    "a batch for a trace": (
        "memory_trace(mp.simulate(mp.MLP([4, 2]), 2), batch=2)",
        "a trace is taken as it is",
    ),
    "the same name twice": (
        "[memory_trace(mp.MLP([4, 2]), batch=2, tolerance=9) for _ in range(2)]",
        "two steps of one test are called 'step'",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_in_the_use_of_the_fixture_is_named(session, case):
    call, told = BAD[case]
    record = {"peak": 10**9, "peak_operator": "", "categories": {}, "variables": {}}
    records = {"test_mine.py::test_it[step]": record}
    (session.path / "__memory__.json").write_text(json.dumps(records))
    source = f"import memprop as mp\ndef test_it(memory_trace):\n    {call}\n"
    assert told in session(source, status={"failed": 1})


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_damaged_file_is_named_and_left_alone(session, content):
    (session.path / "__memory__.json").write_text(content)
    text = session(STEP.format(width=64, options=""), status={"failed": 1})
    assert "__memory__.json" in text
    assert "mend it or delete it" in text
    assert (session.path / "__memory__.json").read_text() == content


def test_the_failure_of_a_marked_test_names_what_its_trace_has_at_the_peak(session):
    source = """
    import memprop as mp
    import pytest

    @pytest.mark.peak_memory("1 KiB")
    def test_it(memory_trace):
        memory_trace(mp.MLP([64, 64, 10]), batch=256)
    """
    text = session(source, "--memprop-update", status={"failed": 1})
    trace = mp.simulate(mp.MLP([64, 64, 10]), 256)
    assert f"at the peak of the trace 'step', {mp.format_bytes(trace.peak)}" in text


def test_the_plugin_is_found_by_its_entry_point():
    (found,) = entry_points(group="pytest11", name="memprop")
    assert found.load() is plugin
