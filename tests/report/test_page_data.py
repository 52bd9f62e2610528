"""What Python puts into a page: the numbers of the trace, as data that cannot be anything else."""

import json
import re

import numpy as np
import page_cases
import pytest

import memprop as mp
from memprop.report.headline import headline
from memprop.report.page import steps
from memprop.report.page.encode import encode
from memprop.report.page.render import embedded
from memprop.report.side_by_side import summarize, variables_side_by_side
from memprop.sweep.examples import load_examples
from memprop.sweep.predicted import predictions
from memprop.terms import CATEGORIES

SCHEDULES = ("textbook", "lean", "sqrt", "microbatch:2", "offload:scratch", "inference")


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_an_encoded_trace_gives_back_its_columns(schedule):
    trace = page_cases.traced(6, 32, schedule)
    code = encode(trace)
    for name in ("phase", "operator"):
        column = np.repeat(code[name]["value"], code[name]["length"])
        assert np.array_equal(column, getattr(trace.events, name))
    live = np.zeros((len(trace.events), len(CATEGORIES)), dtype=np.int64)
    at = np.cumsum(code["changes"]["gap"])
    np.add.at(live, (at, code["changes"]["category"]), code["changes"]["bytes"])
    assert np.array_equal(live.cumsum(axis=0), trace.live.by_category)
    born, events = np.cumsum(code["lives"]["gap"]), trace.events
    assert np.array_equal(born, np.flatnonzero(events.kind == 0))
    assert np.array_equal(events.variable[born], code["lives"]["variable"])
    lengths = np.array(code["lives"]["length"])
    freed = np.sort((born + lengths)[lengths >= 0])
    assert np.array_equal(freed, np.flatnonzero(events.kind == 2))
    assert sum(code["lives"]["reads"]) == len(code["reads"]) == (events.kind == 1).sum()


@pytest.mark.parametrize("text", [page_cases.HOSTILE, "\u2028 & \u2029", "<!--", "]]>", "é"])
def test_embedded_data_is_itself_and_holds_no_markup(text):
    written = embedded({text: [text]})
    assert json.loads(written) == {text: [text]}
    assert not set("<>&\u2028\u2029") & set(written)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_what_variables_hold_at_the_peak_sums_to_each_category_of_it(schedule):
    trace = page_cases.traced(6, 32, schedule)
    sums = dict.fromkeys(CATEGORIES, 0)
    for number, size in ((b.variable, b.bytes) for b in trace.buffers_at(trace.peak_event)):
        sums[trace.variables[number].category] += size
    assert sums == trace.peak_by_category()


def test_a_comparison_names_what_grew_and_what_went():
    a, b = page_cases.traced(2, 32, "textbook"), page_cases.traced(2, 64, "lean")
    table = variables_side_by_side(a, b)
    assert (table["a_bytes"].sum(), table["b_bytes"].sum()) == (a.peak, b.peak)
    assert (table["difference_bytes"] == table["b_bytes"] - table["a_bytes"]).all()
    assert not table["variable"].duplicated().any()
    change = table.set_index("variable")["change"]
    # textbook keeps z of every layer, lean has written h over it; x has twice the samples.
    assert change["z1"] in ("gone", "shrank")
    assert (change["x"], change["W1"]) == ("grew", "same")
    assert table["difference_bytes"].abs().is_monotonic_decreasing
    text = " ".join(summarize(a, b, table))
    assert f"{b.peak_operator} against" in text


def test_equal_steps_are_said_to_be_equal():
    trace = page_cases.traced(2, 32, "lean")
    table = variables_side_by_side(trace, trace)
    assert set(table["change"]) == {"same"}
    assert len(summarize(trace, trace, table)) == 1


def test_a_headline_has_three_findings_of_as_many_kinds_as_there_are():
    kinds = (["a1 is 1.5. More.", "a2", "a3"], [], ["b1", "b2"], ["c1: 2"])
    assert headline(kinds) == ("a1 is 1.5.", "b1", "c1: 2")
    assert headline((["a1"], ["b1. x", "b2"])) == ("a1", "b1.", "b2")
    assert headline(([], [])) == ()


def test_of_many_trials_the_ends_and_the_middle_are_on_the_page(monkeypatch, tmp_path):
    monkeypatch.setattr(steps, "MOST_STEPS", 20)
    table = page_cases.results()
    numbered = table.assign(row=range(len(table)))
    examples = page_cases.examples_in(tmp_path, page_cases.spec_in(tmp_path), table)
    found = steps.steps_of(examples, numbered, len(table))
    assert (len(found.shown), found.trials) == (20, 36)
    rows = [step.row for step in found.shown]
    assert rows == sorted(rows)
    corners = numbered[numbered["depth"].isin((1, 6)) & numbered["batch"].isin((8, 128))]
    assert set(corners["row"]) <= set(rows)
    for step in found.shown:
        assert step.trace["peak"] == table["ledger_peak"][step.row]


def test_traces_stop_where_a_page_would_open_slowly(monkeypatch, tmp_path):
    monkeypatch.setattr(steps, "MOST_BYTES", 30_000)
    table = page_cases.results()
    examples = page_cases.examples_in(tmp_path, page_cases.spec_in(tmp_path), table)
    found = steps.steps_of(examples, table.assign(row=range(len(table))), 36)
    assert 0 < len(found.shown) < len(table)
    assert sum(len(json.dumps(step.trace)) for step in found.shown) < 60_000


def test_a_folder_of_a_version_that_stored_no_steps_has_a_page_without(tmp_path):
    table = page_cases.results()
    numbered = table.assign(row=range(len(table)))
    assert steps.steps_of(load_examples(tmp_path), numbered, 36).shown == ()


def test_a_sweep_in_which_nothing_ran_still_has_a_page(tmp_path):
    table = page_cases.results().assign(status="oom", message="<b>none left</b>")
    page = page_cases.page_of(tmp_path, table)
    assert "&lt;b&gt;none left" in page
    assert "<b>none" not in page


def test_the_page_of_predictions_shows_what_was_predicted(tmp_path):
    text = page_cases.SPEC.replace('mode = ["train", "inference"]', 'mode = "simulate"')
    spec = page_cases.spec_in(tmp_path, text)
    page = page_cases.page_of(tmp_path, predictions(spec), text)
    assert "Nothing was run" in page
    model = page_cases.model(6)
    peak = mp.simulate(model, 128, schedule="textbook").peak
    assert f"depth 6, batch 128: {mp.format_bytes(peak)} ({peak:,} B)" in page
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert len(data["steps"]) == 27


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page of the whole sweep."""
    return page_cases.page_of(tmp_path_factory.mktemp("page"), page_cases.results())


def test_the_figure_of_recomputation_says_the_schedules_and_draws_the_frontier(page):
    (figure,) = re.findall(
        r'<figure class="picture" id="picture-memory_against_recomputation">.*?</figure>',
        page,
        re.DOTALL,
    )
    said = re.findall(r'data-hint="([^"]*)"', figure)
    assert {hint.split(",")[0] for hint in said} == {"lean", "sqrt", "textbook"}
    table = mp.frontier(page_cases.model(6), batch=128).set_index("strategy")
    peak, slowdown = table.loc["sqrt", "peak_bytes"], table.loc["sqrt", "slowdown"]
    sqrt = next(hint for hint in said if hint.startswith("sqrt, depth 6"))
    assert f"({peak:,} B), {slowdown:.3f} times the FLOPs of lean" in sqrt


def test_a_figure_on_the_page_is_that_of_the_file_and_runs_nothing(page):
    figures = re.findall(r'<figure class="picture".*?</figure>', page, re.DOTALL)
    assert len(figures) >= 4
    names = re.findall(r' id="([^"]+)"', "".join(figures))
    assert len(names) == len(set(names))
    for figure in figures:
        assert not re.search(r"<(script|style|metadata|foreignObject)\b|\son\w+=", figure)
        for name in re.findall(r'(?:href="#|url\(#)([^")]+)', figure):
            assert f'id="{name}"' in figure
