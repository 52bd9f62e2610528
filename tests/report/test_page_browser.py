"""The pages in a real browser: what they show is what the traces and results say.

Expected values come from the traces by other ways than the page takes: the tables of pandas that
`trace.intermediates()` and `trace.live` are, and the rows of the results.
"""

import base64
import re

import numpy as np
import page_cases
import pandas as pd
import pytest
from browsed import GUTTER, RIGHT, ROW

import memprop as mp
from memprop.report.page.step import comparison_page, step_page
from memprop.report.side_by_side import variables_side_by_side
from memprop.terms import CATEGORIES


@pytest.fixture(scope="module")
def results():
    return page_cases.results()


@pytest.fixture(scope="module")
def report(tmp_path_factory, results):
    folder = tmp_path_factory.mktemp("page")
    path = folder / "report.html"
    path.write_text(page_cases.page_of(folder, results), encoding="utf-8")
    return path


@pytest.fixture
def opened(page, report):
    return page.open(report)


def alive_at(trace, event):
    """The names of what lives after an event, by brute force."""
    alive = set()
    for kind, variable in zip(
        trace.events.kind[: event + 1], trace.events.variable[: event + 1], strict=True
    ):
        if kind == 0:
            alive.add(int(variable))
        elif kind == 2:
            alive.discard(int(variable))
    return {trace.variables[number].name for number in alive}


def test_a_report_opens_without_errors_and_without_requests(opened, report):
    opened.frame()
    assert opened.errors() == []
    asked = [url for url in opened.requests() if not url.startswith("data:")]
    assert asked == [report.as_uri()]


def test_the_page_runs_no_script_but_its_own(opened):
    opened.run(
        "const s = document.createElement('script'); s.textContent = 'document.title = 1';"
        "document.body.append(s); const i = document.createElement('img');"
        "i.setAttribute('onerror', 'document.title = 2'); i.src = 'data:,'; document.body.append(i)"
    )
    opened.frame()
    assert opened.driver.title.startswith("A sweep")
    assert any("Content Security Policy" in message for message in opened.errors())


def hints_of(page, figure):
    """What a figure says of its points, with the rows of the results that they stand for."""
    return page.run(
        "return [...document.querySelectorAll(arguments[0])]"
        ".map(point => [point.dataset.hint, point.dataset.row])",
        f"#picture-{figure} [data-hint]",
    )


@pytest.mark.parametrize("figure", ["peak_against_batch", "peak_against_depth"])
def test_the_figures_say_every_peak_of_the_results(opened, results, figure):
    told = [(hint.split("\n"), row) for hint, row in hints_of(opened, figure)]
    for number, row in enumerate(results.to_dict(orient="records")):
        training = row["mode"] == "train"
        title = f"training with {row['schedule']}" if training else "inference"
        where = f"depth {row['depth']}, batch {row['batch']}: "
        mine = [
            (lines[1], place)
            for lines, place in told
            if lines[0] == title and lines[1].startswith(where)
        ]
        assert mine
        for line, place in mine:
            assert line.endswith(f"({row['ledger_peak']:,} B)")
            assert place == str(number)


def test_the_map_says_the_ratios_of_the_results(opened, results):
    peaks = results.set_index(["schedule", "depth", "batch"])["ledger_peak"]
    told = sorted(hint.split("\n")[0] for hint, _ in hints_of(opened, "ratio"))
    assert told == sorted(
        f"depth {depth}, batch {batch}: {peak / peaks['inference', depth, batch]:.2f}"
        for (schedule, depth, batch), peak in peaks.items()
        if schedule != "inference"
    )


def test_points_stand_where_their_values_are(opened, results):
    script = (
        "return [...document.querySelectorAll('#picture-peak_against_batch use[data-hint]')]"
        ".slice(0, 3).map(mark => [mark.x.baseVal.value, mark.y.baseVal.value])"
    )
    chosen = results[(results["schedule"] == "textbook") & (results["depth"] == 1)]
    marks = np.array(opened.run(script))
    values = np.log(chosen[["batch", "ledger_peak"]].to_numpy(dtype=float))
    for axis in (0, 1):
        drawn, true = marks[:, axis], values[:, axis]
        part = (drawn[1] - drawn[0]) / (drawn[2] - drawn[0])
        assert part == pytest.approx((true[1] - true[0]) / (true[2] - true[0]), abs=0.002)


def test_pointing_at_a_point_and_arrow_keys_read_its_values(opened, results):
    from selenium.webdriver import ActionChains, Keys

    mark = opened.one("#picture-peak_against_batch use[data-hint]")
    opened.run("arguments[0].scrollIntoView({block: 'center'})", mark)
    ActionChains(opened.driver).move_to_element(mark).perform()
    peaks = results.set_index(["schedule", "depth", "batch"])["ledger_peak"]
    assert f"{peaks['textbook', 1, 8]:,} B" in opened.text("#hint")
    opened.one("#picture-peak_against_batch svg").send_keys(Keys.ARROW_RIGHT)
    assert f"{peaks['textbook', 1, 32]:,} B" in opened.text("#picture-peak_against_batch .readout")


def test_a_point_opens_its_step(opened):
    from selenium.webdriver import Keys

    svg = opened.one("#picture-peak_against_batch svg")
    svg.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ENTER)
    title = opened.text("#step-title")
    assert title.startswith("training with textbook, depth 1, batch 128: peak")


@pytest.mark.parametrize("schedule", ["textbook", "lean", "sqrt"])
def test_the_cached_intermediates_are_those_of_the_trace(opened, schedule):
    trace = opened.choose_step(6, 32, schedule)
    expected = [
        [
            row.variable, "-" if pd.isna(row.layer) else str(row.layer),
            "x".join(map(str, row.shape)), f"{row.bytes:,}",
            row.saved_by, str(row.reuses), ", ".join(row.reused_by), str(row.born),
            str(row.last_read), str(row.freed), "yes" if row.recomputed else "no",
        ]
        for row in trace.intermediates().itertuples()
    ]  # fmt: skip
    assert opened.rows("#cached") == expected


def test_the_cached_intermediates_can_be_searched_and_sorted(opened):
    trace = opened.choose_step(6, 32, "textbook")
    table = trace.intermediates()
    field = opened.one("#cached input")
    field.send_keys("h")
    found = opened.column("#cached")
    assert found == [
        row.variable
        for row in table.itertuples()
        if "h" in f"{row.variable} {row.saved_by} {' '.join(row.reused_by)}"
    ]
    field.send_keys("\b")
    heading = opened.one("#cached th:nth-child(4) button")
    heading.click()
    heading.click()
    sizes = [int(cell.replace(",", "")) for cell in opened.column("#cached", 3)]
    assert sizes == sorted(table["bytes"], reverse=True)
    assert opened.one("#cached th:nth-child(4)").get_attribute("aria-sort") == "descending"


def test_every_trial_can_be_chosen(opened, results):
    opened.run("window.seen = []")
    peaks = []
    for option in range(len(opened.all("#step option"))):
        opened.put("step", str(option))
        peaks.append(opened.text("#instant"))
    assert len(peaks) == len(results)
    for told, row in zip(peaks, results.itertuples(), strict=True):
        trace = page_cases.traced(row.depth, row.batch, row.schedule)
        assert told.startswith(f"Event {trace.peak_event} of {len(trace.events)} ")
        assert f"{trace.peak_operator}), the peak" in told


def first_births(trace):
    """Name, bytes, birth and length of all its lives, for each variable that ever lived."""
    born, length, open_since = {}, {}, {}
    for event, (kind, variable) in enumerate(
        zip(trace.events.kind.tolist(), trace.events.variable.tolist(), strict=True)
    ):
        if kind == 0:
            born.setdefault(variable, event)
            open_since[variable] = event
        elif kind == 2:
            length[variable] = length.get(variable, 0) + event - open_since.pop(variable)
    for variable, since in open_since.items():
        length[variable] = length.get(variable, 0) + len(trace.events) - since
    return [(trace.variables[v].name, trace.variables[v].bytes, born[v], length[v]) for v in born]


ORDERS = {
    "birth": lambda row: row[2],
    "size": lambda row: (-row[1], row[2]),
    "lifetime": lambda row: (-row[3], row[2]),
}


@pytest.mark.parametrize("order", ORDERS)
def test_bars_are_sorted_as_asked(opened, order):
    trace = opened.choose_step(6, 32, "sqrt")
    opened.put("sort", order)
    opened.open_bars()
    expected = [row[0] for row in sorted(first_births(trace), key=ORDERS[order])]
    assert opened.column("#bars-rows") == expected[:100]


def test_bars_are_filtered_by_category_layer_and_name(opened):
    trace = opened.choose_step(2, 32, "textbook")
    opened.open_bars()
    by_name = {variable.name: variable for variable in trace.variables}
    names = [row[0] for row in first_births(trace)]
    chip = next(c for c in opened.all("#categories button") if c.text == "activation")
    chip.click()
    assert chip.get_attribute("aria-pressed") == "false"
    assert opened.column("#bars-rows") == [n for n in names if by_name[n].category != "activation"]
    chip.click()
    opened.put("layer", "2")
    assert opened.column("#bars-rows") == [n for n in names if by_name[n].layer == 2]
    opened.put("layer", "")
    opened.put("find", "Dz")
    assert opened.column("#bars-rows") == [n for n in names if "dz" in n.lower()]


def test_what_lives_at_the_peak_and_at_a_clicked_instant_is_shown(opened):
    trace = opened.choose_step(2, 128, "lean")
    opened.open_bars()
    opened.put("alive", "peak")
    assert set(opened.column("#bars-rows")) == alive_at(trace, trace.peak_event)
    opened.put("alive", "instant")
    for share in (0.15, 0.4, 0.85):
        room = opened.width("timeline") - GUTTER - RIGHT
        opened.click_at("timeline", GUTTER + share * room, 100)
        event = opened.instant
        assert event == pytest.approx(share * len(trace.events), abs=1.5)
        assert set(opened.column("#bars-rows")) == alive_at(trace, event)


def test_the_instant_is_told_with_the_live_bytes_of_the_trace(opened):
    trace = opened.choose_step(1, 8, "textbook")
    opened.keys("timeline", *["\ue012"] * (trace.peak_event + 1))  # left, beyond the beginning
    for event in range(0, len(trace.events), 7):
        while opened.instant < event:
            opened.keys("timeline", "\ue014")
        told = opened.text("#instant")
        assert f": {mp_bytes(trace.live.total[event])} live" in told
        for name, size in zip(CATEGORIES, trace.live.by_category[event], strict=True):
            part = f"{name.replace('_', ' ')} {mp_bytes(size)}"
            assert (re.search(rf"[:,] {re.escape(part)}[,.]", told) is not None) == bool(size)


def mp_bytes(size):
    from memprop.units import format_bytes

    return format_bytes(int(size))


def test_a_clicked_bar_shows_its_row(opened):
    trace = opened.choose_step(2, 32, "textbook")
    opened.open_bars()
    names = opened.column("#bars-rows")
    place = names.index("z1")
    opened.click_at("lifetimes", 600, place * ROW + ROW / 2)
    assert opened.text("#details h3") == "z1"
    told = dict(
        opened.run(
            "return [...document.querySelectorAll('#details dl div')]"
            ".map(d => [d.children[0].textContent, d.children[1].textContent])"
        )
    )
    row = trace.intermediates().set_index("variable").loc["z1"]
    assert told["made by"] == row["saved_by"]
    assert told["layer"] == str(row["layer"])
    assert told["shape"] == "32x24, float32"
    assert told["bytes"].startswith(f"{row['bytes']:,} ")
    assert (told["born at event"], told["freed at event"]) == (str(row["born"]), str(row["freed"]))
    assert told[f"reused by backward ({row['reuses']})"] == ", ".join(row["reused_by"])


@pytest.mark.parametrize(("scheme", "dark_ink"), [("light", True), ("dark", False)])
def test_a_mark_stands_at_every_reuse_in_the_ink_of_the_page(page, report, scheme, dark_ink):
    page.media(scheme=scheme)
    page.open(report)
    trace = page.choose_step(2, 32, "textbook")
    page.open_bars()
    names = page.column("#bars-rows")
    room = page.width("lifetimes") - GUTTER - RIGHT
    page.put("find", "")
    for found in trace.saved:
        events = trace.events
        number = [v.name for v in trace.variables].index(found.variable)
        reads = np.flatnonzero(
            (events.variable == number) & (events.kind == 1) & (events.phase == 3)
        )
        assert len(reads) == found.reuses > 0
        for event in reads:
            x = GUTTER + (event + 0.5) / len(events) * room
            y = names.index(found.variable) * ROW + 2  # above the bar itself
            *color, alpha = page.pixel("lifetimes", x, y)
            assert alpha == 255
            assert (max(color) < 80) == dark_ink
            assert (min(color) > 180) != dark_ink


def test_the_step_can_be_explored_by_keyboard_alone(opened):
    from selenium.webdriver import ActionChains, Keys

    ActionChains(opened.driver).send_keys(Keys.TAB).perform()
    assert opened.driver.switch_to.active_element.get_attribute("class") == "skip"
    trace = opened.choose_step(6, 32, "sqrt")
    opened.keys("lifetimes", Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_DOWN)
    opened.open_bars()
    names = opened.column("#bars-rows")
    assert opened.text("#details h3") == names[2]
    opened.keys("lifetimes", Keys.END)
    assert opened.text("#details h3") == sorted(first_births(trace), key=ORDERS["birth"])[-1][0]
    outline = opened.run("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    opened.keys("timeline", Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert opened.instant == trace.peak_event - 2
    opened.keys("timeline", "p")
    assert opened.instant == trace.peak_event


def test_a_drag_zooms_and_the_whole_step_comes_back(opened):
    from selenium.webdriver import ActionChains

    trace = opened.choose_step(6, 32, "textbook")
    room = opened.width("timeline") - GUTTER - RIGHT
    element = opened.one("#timeline")
    opened.run("arguments[0].scrollIntoView({block: 'center'})", element)
    middle = element.size["width"] // 2
    start, end = (round(GUTTER + share * room - middle) for share in (0.5, 0.75))
    ActionChains(opened.driver).move_to_element_with_offset(
        element, start, 0
    ).click_and_hold().move_by_offset(end - start, 0).release().perform()
    opened.click_at("timeline", GUTTER + 0.5 * room, 100)
    # The middle of the second quarter from the right.
    assert opened.instant == pytest.approx(0.625 * len(trace.events), abs=2)
    opened.one("#whole").click()
    opened.click_at("timeline", GUTTER + 0.25 * room, 100)
    assert opened.instant == pytest.approx(0.25 * len(trace.events), abs=1.5)


def luminance(page):
    """How light the background of the page is, from 0 to 255."""
    color = page.run("return getComputedStyle(document.body).backgroundColor")
    return np.mean([float(part) for part in re.findall(r"[\d.]+", color)[:3]])


def test_the_page_is_dark_in_the_dark_and_light_on_paper(opened):
    assert luminance(opened) > 240
    opened.media(scheme="dark")
    assert luminance(opened) < 40
    opened.media("print", "dark")
    assert luminance(opened) > 240


def test_paper_has_the_results_and_nothing_to_click(opened):
    opened.media("print")
    for css in ("nav", ".controls", ".zoom", ".switch"):
        assert not opened.one(css).is_displayed()
    for css in ("#timeline", "#lifetimes", ".picture svg", "#cached table", "#step-title"):
        assert opened.one(css).is_displayed()
    printed = opened.driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
    assert base64.b64decode(printed["data"]).startswith(b"%PDF")


def test_every_drawing_has_a_text_in_its_place(opened):
    for drawing in opened.all("main svg[role=img], main canvas, main img"):
        assert drawing.get_attribute("aria-label") or drawing.get_attribute("alt")
    for control in opened.all("main input, main select, main button"):
        assert control.accessible_name or not control.is_displayed()


def test_names_that_hold_html_do_not_run(page, report, tmp_path):
    trace = page_cases.hostile_trace()
    names = (page_cases.HOSTILE, "second")
    table = variables_side_by_side(trace, trace)
    pages = {
        "step.html": step_page(page_cases.HOSTILE, trace),
        "pair.html": comparison_page(names, trace, trace, table),
        "report.html": report.read_text(encoding="utf-8"),
    }
    for name, text in pages.items():
        page.open(tmp_path / name, text)
        page.keys("lifetimes", "\ue015")
        page.open_bars()
        assert page.driver.title != "run"
        assert page.all("main img[onerror], main script") == []
        assert page.errors() == []
    page.open(tmp_path / "step.html")
    page.keys("lifetimes", "\ue015")
    assert page.text("#details h3") == page_cases.HOSTILE
    assert page.column("#cached") == [page_cases.HOSTILE]
    assert page.text("h1") == page_cases.HOSTILE


def height_of(page, place):
    """How many pixels high the stack of a timeline is at its highest."""
    return page.run(
        "const c = document.querySelectorAll('.pair canvas')[arguments[0]];"
        "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        "const coloured = (n) => Math.max(d[n], d[n + 1], d[n + 2])"
        "  - Math.min(d[n], d[n + 1], d[n + 2]) > 60;"
        "const rows = [];"
        "for (let y = 0; y < c.height; y++) for (let x = 190; x < c.width; x++)"
        "  if (coloured(4 * (y * c.width + x))) { rows.push(y); break; }"
        "return rows.at(-1) - rows[0] + 1",
        place,
    )


def test_two_steps_are_drawn_on_one_scale_and_their_changes_sum_up(page, tmp_path):
    a, b = page_cases.traced(6, 128, "textbook"), page_cases.traced(6, 128, "lean")
    table = variables_side_by_side(a, b)
    page.open(tmp_path / "pair.html", comparison_page(("a", "b"), a, b, table))
    page.frame()
    assert height_of(page, 0) / height_of(page, 1) == pytest.approx(a.peak / b.peak, rel=0.03)
    rows = page.rows("section:nth-of-type(2) table:last-of-type")
    changed = [row for row in rows if len(row) == 6]
    first, second = (sum(int(row[n].replace(",", "")) for row in changed) for n in (3, 4))
    assert second - first == b.peak - a.peak
    assert page.errors() == []


def test_a_trace_of_100_000_events_opens_and_answers(page, tmp_path):
    from selenium.webdriver import Keys

    trace = mp.simulate(mp.MLP([64, *[16] * 4100, 10]), 32, schedule="textbook")
    assert len(trace.events) > 100_000
    text = step_page("deep", trace)
    assert len(text.encode()) < 6_000_000
    page.open(tmp_path / "deep.html", text)
    assert page.instant == trace.peak_event
    page.keys("timeline", Keys.ARROW_RIGHT)
    assert page.instant == trace.peak_event + 1
    page.keys("lifetimes", Keys.END)
    assert page.text("#details h3") == first_births(trace)[-1][0]
    page.put("find", "z4000")
    page.open_bars()
    expected = [row[0] for row in first_births(trace) if "z4000" in row[0]]
    assert page.column("#bars-rows") == expected
    assert page.errors() == []
