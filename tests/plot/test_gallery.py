"""Figures look as they did when somebody looked at them, and show the numbers of the trace."""

import matplotlib as mpl
import matplotlib.colors
import matplotlib.pyplot as plt
import numpy as np
import pytest
from gallery import BASELINE, GALLERY, curve, loop, on_a_gpu, save, step
from matplotlib.testing.compare import compare_images

import memprop as mp
from memprop.errors import InvalidValueError
from memprop.traces.colors import CATEGORY_COLORS
from memprop.traces.recorder import Recorder

TOLERANCE = 6
"""Root mean square of the difference, of 255: versions of FreeType set glyphs a little apart."""


@pytest.mark.parametrize("name", GALLERY)
def test_a_figure_looks_as_it_did_when_it_was_looked_at(name, tmp_path):
    save(name, tmp_path / f"{name}.png")
    shown = compare_images(
        str(BASELINE / f"{name}.png"), str(tmp_path / f"{name}.png"), tol=TOLERANCE
    )
    assert shown is None, f"{shown}\nif it should look so: python tests/plot/gallery.py"


def test_the_tolerance_does_not_hide_another_colour(tmp_path, monkeypatch):
    changed = {**CATEGORY_COLORS, "activation": CATEGORY_COLORS["workspace"]}
    monkeypatch.setattr("memprop.traces.figures.timeline.CATEGORY_COLORS", changed)
    save("timeline", tmp_path / "t.png")
    baseline = str(BASELINE / "timeline.png")
    assert compare_images(baseline, str(tmp_path / "t.png"), tol=TOLERANCE) is not None


FIGURES = {
    "timeline": lambda ax=None: mp.plot.timeline(step("sqrt"), ax),
    "lifetimes": lambda ax=None: mp.plot.lifetimes(step("sqrt"), ax),
    "compare": lambda ax=None: mp.plot.compare(step(), step("lean"), ax),
    "breakdown": lambda ax=None: mp.plot.breakdown({"a": step(), "b": step("lean")}, ax),
    "segments": lambda ax=None: mp.plot.segments(on_a_gpu(), ax),
    "reserved": lambda ax=None: mp.plot.reserved(on_a_gpu(), ax),
    "steps": lambda ax=None: mp.plot.steps(loop(), ax),
    "frontier": lambda ax=None: mp.plot.frontier(curve(), ax),
}


def test_the_gallery_shows_every_figure():
    assert set(FIGURES) == set(mp.plot.__all__)
    assert set(FIGURES) < set(GALLERY)


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_takes_and_returns_axes_and_opens_no_other_figure(name):
    figure, axes = plt.subplots()
    assert FIGURES[name](axes) is axes
    assert plt.get_fignums() == [figure.number]
    assert FIGURES[name]().figure is not figure


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_black_on_black(name):
    with plt.style.context("dark_background"):
        axes = FIGURES[name]()
    colors = [text.get_color() for text in axes.findobj(mpl.text.Text)]
    colors += [line.get_color() for line in axes.findobj(mpl.lines.Line2D)]
    colors += [patch.get_facecolor() for patch in axes.patches if patch is not axes.patch]
    assert colors
    for color in colors:
        assert sum(mpl.colors.to_rgb(color)) > 0.5


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_a_vector_throughout(name, tmp_path):
    told = Recorder()
    for number in range(3000):
        variable = told.variable("v", "activation", (1,), "int8", 1)
        told.allocate(variable, number, 1 + number % 7, "forward")
    long = told.trace()
    drawn = {
        "timeline": lambda: mp.plot.timeline(long),
        "compare": lambda: mp.plot.compare(long, long),
        "breakdown": lambda: mp.plot.breakdown({"long": long}),
    }
    axes = drawn.get(name, FIGURES[name])()
    axes.figure.savefig(tmp_path / "t.svg")
    text = (tmp_path / "t.svg").read_text()
    assert "<image" not in text
    assert len(text) < 300_000


def test_the_timeline_of_a_long_step_keeps_its_peak():
    told = Recorder()
    for number in range(5000):
        variable = told.variable("v", "activation", (1,), "int8", 1)
        told.allocate(variable, number, 1 if number != 3333 else 9_000, "forward")
        told.free(variable, number, 1, "forward")
    trace = told.trace()
    axes = mp.plot.timeline(trace)
    (area,) = axes.collections
    corners = area.get_paths()[0].vertices
    assert corners[:, 1].max() == trace.peak == 9_000
    highest = corners[corners[:, 1] == 9_000][:, 0]
    assert highest.min() == trace.peak_event
    assert len(corners) < 10_000


def test_compare_says_what_grew_and_what_went():
    a, b = step(), step("lean", optimizer="adam")
    axes = mp.plot.compare(a, b)
    rows = [label.get_text() for label in axes.get_yticklabels()]
    told = dict(zip(rows, (text.get_text() for text in axes.texts), strict=True))
    first, second = a.peak_by_category(), b.peak_by_category()
    assert told["optimizer state"] == f"+{mp.format_bytes(second['optimizer_state'])}"
    lost = first["activation"] - second["activation"]
    assert told["activation"] == f"\N{MINUS SIGN}{mp.format_bytes(lost)}"
    assert told["parameter"] == "equal"
    widths = [bar.get_width() for bar in axes.patches]
    assert widths[-2:] == [a.peak, b.peak]
    assert sum(widths[:-2:2]) == a.peak


def test_the_bars_of_a_breakdown_are_as_high_as_the_peaks():
    traces = {"a": step(), "b": step("lean")}
    axes = mp.plot.breakdown(traces)
    tops = np.zeros(2)
    for container in axes.containers:
        tops += [bar.get_height() for bar in container]
    assert tops.tolist() == [trace.peak for trace in traces.values()]
    with pytest.raises(InvalidValueError, match="no step"):
        mp.plot.breakdown({})


def test_a_breakdown_of_one_step_needs_no_name():
    trace = step("sqrt")
    axes = mp.plot.breakdown(trace)
    told = {container.get_label(): container[0].get_height() for container in axes.containers}
    expected = {name.replace("_", " "): n for name, n in trace.peak_by_category().items() if n}
    assert told == expected
    assert [label.get_text() for label in axes.get_xticklabels()] == ["sqrt"]
    recorded = Recorder()
    recorded.allocate(recorded.variable("v", "input", (4,), "int8", 4), 0, 4, "forward")
    axes = mp.plot.breakdown(recorded.trace())
    assert [label.get_text() for label in axes.get_xticklabels()] == ["step"]


def test_names_are_never_taken_for_formulas():
    told = Recorder()
    variable = told.variable("$x^{2$", "activation", (4,), "int8", 4)
    told.allocate(variable, 0, 4, "forward", told.operator("$f_{$", "forward"))
    told.read(variable, 0, 4, "backward", told.operator("$b_{$", "backward"))
    trace = told.trace()
    for axes in (
        mp.plot.timeline(trace),
        mp.plot.lifetimes(trace),
        mp.plot.compare(trace, trace, names=("$a_{$", "b")),
        mp.plot.breakdown({"$a_{$": trace}),
    ):
        axes.figure.canvas.draw()
