"""The pages on an axis of time, for steps that were run: where things are is when they happened.

Times are made up, so that the same events fall far apart in one place and close together in
another; expected places come from them by the definition of the axis.
"""

from dataclasses import replace

import numpy as np
import page_cases
import pytest
from browsed import GUTTER, RIGHT, ROW

import memprop as mp
from memprop.report.page.encode import encode
from memprop.report.page.step import comparison_page, step_page
from memprop.report.side_by_side import variables_side_by_side
from memprop.traces.trace import Trace


def timed(trace, longest_ns=400_000, seed=0):
    """``trace`` as if it had been run, with waits of up to ``longest_ns`` between its events."""
    draw = np.random.default_rng(seed)
    waits = draw.integers(0, longest_ns, len(trace.events)) * draw.integers(0, 2, len(trace.events))
    events = replace(trace.events, nanoseconds=np.cumsum(waits))
    return Trace(events=events, variables=trace.variables, operators=trace.operators)


@pytest.fixture(scope="module")
def trace():
    return timed(page_cases.traced(2, 128, "sqrt"))


@pytest.fixture
def opened(page, trace, tmp_path):
    page.open(tmp_path / "step.html", step_page("timed", trace))
    page.one("#unit [value=time]").click()
    page.frame()
    return page


def room_of(page, canvas="timeline"):
    return page.width(canvas) - GUTTER - RIGHT


def x_of(page, trace, nanoseconds):
    """The pixel at which a time is, when the whole step is shown."""
    first, last = trace.events.nanoseconds[[0, -1]]
    return GUTTER + (nanoseconds - first) / (last - first) * room_of(page)


def written(page, draw):
    """The texts on the timeline and the pixels at which they are, after ``draw``."""
    page.run(
        "const p = CanvasRenderingContext2D.prototype; window.texts = [];"
        "window.plain ??= p.fillText; p.fillText = function (text, x, y) {"
        "  if (this.canvas.id === 'timeline') window.texts.push([text, x, y]);"
        "  return window.plain.call(this, text, x, y); }"
    )
    draw()
    page.frame()
    return page.run("return window.texts")


def ticks_of(page, texts, unit):
    """The ticks and their pixels; a text at the right end may be moved from its tick."""
    end = GUTTER + room_of(page)
    found = [(t.removesuffix(f" {unit}"), x) for t, x, _ in texts if t.endswith(f" {unit}")]
    return {float(number): x for number, x in found if x < end}


def test_encoded_times_give_back_when_events_happened(trace):
    code = encode(trace)["times"]
    times = np.zeros(len(trace.events), dtype=np.int64)
    times[np.cumsum(code["gap"])] = code["nanoseconds"]
    assert np.array_equal(np.cumsum(times), trace.events.nanoseconds)


def test_a_clock_that_goes_back_stands_still_instead(trace):
    back = trace.events.nanoseconds.copy()
    back[20] = 0
    code = encode(replace(trace, events=replace(trace.events, nanoseconds=back)))["times"]
    assert min(code["nanoseconds"]) > 0
    assert sum(code["nanoseconds"]) == back.max()


@pytest.mark.parametrize("nanoseconds", [-1, 7])
def test_without_times_or_with_one_alone_there_is_no_switch(trace, nanoseconds, page, tmp_path):
    same = np.full(len(trace.events), nanoseconds)
    alone = replace(trace, events=replace(trace.events, nanoseconds=same))
    page.open(tmp_path / "step.html", step_page("untimed", alone))
    assert not page.one("#unit").is_displayed()
    page.keys("timeline", "t")
    assert "over time" not in page.one("#timeline").get_attribute("aria-label")
    assert page.errors() == []


def test_a_real_step_has_a_switch_and_its_own_seconds(page, tmp_path):
    model = mp.MLP([64, 24, 10])
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(8, 64)).astype(np.float32), draw.integers(0, 10, 8)
    trace = mp.trace(model, x, y)
    page.open(tmp_path / "step.html", step_page("real", trace))
    assert page.one("#unit").is_displayed()
    told = page.text("#instant").split(" at ")[1].split()
    scale = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}[told[1]]
    seconds = trace.timeline()["seconds"].cummax()[trace.peak_event]
    assert float(told[0]) * scale == pytest.approx(seconds, rel=1e-3)


@pytest.mark.parametrize("share", [0.1, 0.37, 0.62, 0.9])
def test_a_click_chooses_what_holds_at_its_time(opened, trace, share):
    opened.click_at("timeline", GUTTER + share * room_of(opened), 100)
    times = trace.events.nanoseconds
    x = round(GUTTER + share * room_of(opened))
    per_pixel = (times[-1] - times[0]) / room_of(opened)
    at = times[0] + (x - GUTTER) * per_pixel
    # WebDriver clicks within a pixel of where it is told to.
    around = np.searchsorted(times, [at - per_pixel, at + per_pixel], side="right") - 1
    assert around[0] <= opened.instant <= around[1]


def test_bars_begin_and_end_when_their_variables_do(opened, trace):
    opened.put("sort", "birth")
    opened.open_bars()
    names = opened.column("#bars-rows")
    times = trace.events.nanoseconds
    table = trace.intermediates()
    checked = 0
    for row in table[~table["recomputed"]].itertuples():
        y = names.index(row.variable) * ROW + ROW // 2
        ends = [x_of(opened, trace, times[event]) for event in (row.born, row.freed)]
        if ends[1] - ends[0] < 12:
            continue
        checked += 1
        alpha = [
            opened.pixel("lifetimes", x, y)[3]
            for x in (ends[0] - 3, ends[0] + 3, ends[1] - 3, ends[1] + 3)
        ]
        assert alpha[1:3] == [255, 255]
        assert (alpha[0], alpha[3]) == (0, 0)
    assert checked >= 3


def test_a_mark_stands_when_a_reuse_happened(opened, trace):
    opened.open_bars()
    names = opened.column("#bars-rows")
    events, numbers = trace.events, {v.name: n for n, v in enumerate(trace.variables)}
    for found in trace.saved:
        read = (events.variable == numbers[found.variable]) & (events.kind == 1)
        times = events.nanoseconds[read & (events.phase == 3)]
        assert 0 < len(times) <= found.reuses  # forward operators that run again reuse too
        for nanoseconds in times:
            x = x_of(opened, trace, nanoseconds)
            y = names.index(found.variable) * ROW + 2  # above the bar itself
            assert opened.pixel("lifetimes", x, y)[3] == 255


def test_the_peak_stands_where_it_was_reached(opened, trace):
    opened.keys("timeline", "\ue012", "\ue012")  # so that the line of the instant is elsewhere
    times = trace.events.nanoseconds
    x = x_of(opened, trace, times[trace.peak_event])
    height = opened.run("return document.getElementById('timeline').clientHeight")
    bottom, top = height - 46, 22
    y = bottom - (bottom - top) / 1.04 + 3  # just below the peak
    columns = [opened.pixel("timeline", c, y) for c in range(GUTTER + 1, int(x) + 3)]
    coloured = [max(c[:3]) - min(c[:3]) > 60 for c in columns]
    assert any(coloured[-4:])
    live, limit = trace.live.total, (1 - 3 / ((bottom - top) / 1.04)) * trace.peak
    first = times[np.flatnonzero(live >= limit)[0]]
    assert GUTTER + 1 + coloured.index(True) == pytest.approx(x_of(opened, trace, first), abs=1.5)


def test_ticks_are_round_times_at_their_places(opened, trace):
    ticks = ticks_of(opened, written(opened, lambda: opened.keys("timeline", "p")), "ms")
    assert len(ticks) >= 4
    steps = np.diff(sorted(ticks))
    assert np.allclose(steps, steps[0])
    assert f"{steps[0]:.9f}".strip("0.") in {"1", "2", "5"}
    for milliseconds, x in ticks.items():
        assert x == pytest.approx(x_of(opened, trace, milliseconds * 1e6), abs=0.01)


def test_close_to_events_ticks_are_microseconds(page, trace, tmp_path):
    page.open(tmp_path / "quick.html", step_page("quick", timed(trace, 2000)))
    page.one("#unit [value=time]").click()
    ticks = ticks_of(page, written(page, lambda: page.keys("timeline", "p")), "us")
    assert len(ticks) >= 4


def test_ticks_of_events_are_their_numbers(opened, trace):
    texts = written(opened, lambda: opened.keys("timeline", "t"))
    ticks = {int(text): x for text, x, _ in texts if text.isdigit()}
    assert len(ticks) >= 4
    for event, x in ticks.items():
        assert x == pytest.approx(GUTTER + event / len(trace.events) * room_of(opened), abs=0.01)


def test_the_axis_is_changed_by_keyboard_and_told(opened):
    from selenium.webdriver import Keys

    label = opened.one("#timeline").get_attribute("aria-label")
    assert "timed, drawn over time: " in label
    opened.one("#unit [value=time]").send_keys(Keys.ARROW_LEFT)
    label = opened.one("#timeline").get_attribute("aria-label")
    assert "timed, drawn over events: " in label
    opened.keys("lifetimes", "t")
    assert opened.one("#unit [value=time]").is_selected()
    assert "drawn over time" in opened.one("#lifetimes").get_attribute("aria-label")
    assert opened.errors() == []


def test_the_tables_do_not_depend_on_the_axis(opened):
    over_time = opened.rows("#cached")
    opened.one("#unit [value=events]").click()
    opened.frame()
    assert opened.rows("#cached") == over_time


def test_arrows_visit_every_event_though_many_happen_at_once(opened, trace):
    opened.click_at("timeline", GUTTER + 0.5 * room_of(opened), 100)
    start = opened.instant
    assert (np.diff(trace.events.nanoseconds[start : start + 9]) == 0).any()
    for event in range(start + 1, start + 9):
        opened.keys("timeline", "\ue014")
        assert opened.instant == event


def test_another_axis_shows_the_same_events(opened, trace):
    opened.one("#unit [value=events]").click()
    opened.keys("timeline", "p", "+", "+")
    count = len(trace.events)
    middle = trace.peak_event + 0.5
    low = np.clip(middle - count / 8, 0, count * 3 / 4)
    times = trace.events.nanoseconds
    expected = times[[int(low), int(np.ceil(low + count / 4))]]
    ticks = ticks_of(opened, written(opened, lambda: opened.keys("timeline", "t")), "ms")
    # Two ticks tell the scale of the axis: the times at its ends.
    (a, x_a), *_, (b, x_b) = sorted(ticks.items())
    per_pixel = (b - a) / (x_b - x_a)
    ends = [a + (x - x_a) * per_pixel for x in (GUTTER, GUTTER + room_of(opened))]
    assert np.array(ends) * 1e6 == pytest.approx(expected, rel=1e-6)
    opened.keys("timeline", "t", "0", "t")
    whole = ticks_of(opened, written(opened, lambda: opened.keys("timeline", "p")), "ms")
    for milliseconds, x in whole.items():
        assert x == pytest.approx(x_of(opened, trace, milliseconds * 1e6), abs=0.01)


def widths_of(page):
    """How many pixels wide the stack of each timeline of a comparison is."""
    page.frame()
    return page.run(
        "return [...document.querySelectorAll('.pair canvas')].map((c) => {"
        "const y = c.height - 50, d = c.getContext('2d').getImageData(0, y, c.width, 1).data;"
        "let last = 0; for (let x = 190; x < c.width; x++)"
        "  if (Math.max(d[4*x], d[4*x+1], d[4*x+2]) - Math.min(d[4*x], d[4*x+1], d[4*x+2]) > 60)"
        "    last = x;"
        "return last - 190 + 1; })"
    )


def test_two_steps_share_one_scale_of_time(page, trace, tmp_path):
    quicker = timed(page_cases.traced(2, 128, "textbook"), 100_000)
    table = variables_side_by_side(trace, quicker)
    page.open(tmp_path / "pair.html", comparison_page(("a", "b"), trace, quicker, table))
    page.frame()
    assert page.errors() == []
    first, second = widths_of(page)
    assert first / second == pytest.approx(len(trace.events) / len(quicker.events), rel=0.01)
    page.one("#pair-unit [value=time]").click()
    first, second = widths_of(page)
    spans = [np.ptp(t.events.nanoseconds) for t in (trace, quicker)]
    assert first / second == pytest.approx(spans[0] / spans[1], rel=0.02)


def test_a_step_without_times_beside_one_that_has_them_is_counted_in_events(page, trace, tmp_path):
    simulated = page_cases.traced(2, 128, "sqrt")
    table = variables_side_by_side(trace, simulated)
    page.open(tmp_path / "pair.html", comparison_page(("a", "b"), trace, simulated, table))
    assert not page.one("#pair-unit").is_displayed()
    page.one("#unit [value=time]").click()
    page.put("step", "1")
    assert not page.one("#unit").is_displayed()
    page.put("step", "0")
    assert page.one("#unit [value=time]").is_selected()
    assert page.errors() == []


def test_100_000_events_over_time_answer(page, tmp_path):
    deep = timed(mp.simulate(mp.MLP([64, *[16] * 4100, 10]), 32, schedule="textbook"))
    page.open(tmp_path / "deep.html", step_page("deep", deep))
    page.keys("timeline", "t", "+", "+", "\ue014")
    assert page.instant == deep.peak_event + 1
    page.one("#whole").click()
    page.click_at("timeline", GUTTER + 0.5 * room_of(page), 100)
    times = deep.events.nanoseconds
    expected = np.searchsorted(times, times[-1] / 2)
    assert page.instant == pytest.approx(expected, abs=2 * len(times) / room_of(page))
    assert page.errors() == []
