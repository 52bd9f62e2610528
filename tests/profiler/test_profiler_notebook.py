"""The display of a profile, and the cell magic."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from optional import load_optional

import memprop as mp


def profile(name="x"):
    with mp.Profiler() as prof:
        x = prof.watch(np.ones((10, 10)), name)
        with prof.phase("forward"):
            h = x * 2
        with prof.phase("backward"):
            x * h
    return prof


def svg_of(page):
    (svg,) = re.findall(r"<svg.*</svg>", page, flags=re.DOTALL)
    return ET.fromstring(svg)  # noqa: S314 - our own


def test_a_profile_shows_its_phases_what_was_kept_and_the_timeline():
    page = profile()._repr_html_()
    for text in ("forward", "backward", "multiply", "test_profiler_notebook.py:", "800 B"):
        assert text in page
    assert svg_of(page).tag.endswith("svg")


def test_a_profile_of_a_loop_shows_its_steps_and_what_they_left():
    kept = []
    with mp.Profiler() as prof:
        x = prof.watch(np.ones((10, 10)), "x")
        for _ in range(3):
            with prof.phase("forward"):
                kept.append(np.tanh(x))
            prof.step()
    page = prof._repr_html_()
    for text in ("<h4>Steps</h4>", "Left by steps that are over", "tanh", "2.3 KiB"):
        assert text in page  # 3 times 800 bytes are left
    assert "<h4>Steps</h4>" not in profile()._repr_html_()


def test_names_are_escaped():
    page = profile("<script>alert(1)</script> & co")._repr_html_()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; co" in page


def test_names_of_phases_are_escaped():
    with mp.Profiler() as prof, prof.phase("<b> $x^$ forward"):
        prof.watch(np.ones(10), "x") + 1
    page = prof._repr_html_()
    assert "<b>" not in page
    svg_of(page)


def test_a_profile_without_watched_arrays_shows_its_sites():
    with mp.Profiler() as prof:
        with prof.phase("forward"):
            kept = np.ones(1000)
        with prof.phase("backward"):
            kept * 2
    page = prof._repr_html_()
    assert "test_profiler_notebook.py:" in page
    svg_of(page)


def test_an_empty_profile_says_what_to_do():
    assert "nothing to trace" in mp.Profiler()._repr_html_()


@pytest.fixture
def shell(tmp_path, monkeypatch):
    testing = load_optional("IPython.core.interactiveshell")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    made = testing.InteractiveShell.instance()
    made.history_manager.enabled = False
    made.run_line_magic("load_ext", "memprop")
    yield made
    testing.InteractiveShell.clear_instance()


CELL = """
import numpy as np
with prof.phase("forward"):
    h = prof.watch(np.ones(100), "x") * 2
with prof.phase("backward"):
    g = h + 1
"""


def test_a_cell_runs_with_a_profiler_and_shows_it(shell):
    prof = shell.run_cell_magic("memprop", "", CELL)
    assert prof is shell.user_ns["prof"]
    assert prof.phases()["path"].tolist() == ["cell", "cell/forward", "cell/backward"]
    assert [found.variable for found in prof.trace.saved] == ["multiply"]
    assert prof.trace.saved[0].site.startswith("Cell In[")
    with pytest.raises(mp.MempropError, match="closed"):
        prof.watch(np.ones(1), "x")


def test_the_profiler_of_a_cell_may_have_another_name(shell):
    shell.run_cell_magic("memprop", "mine", "mine.watch(1.0, 'x') if False else None")
    assert isinstance(shell.user_ns["mine"], mp.Profiler)


def test_a_cell_that_fails_shows_its_error_and_the_profile_up_to_there(shell, capsys):
    prof = shell.run_cell_magic("memprop", "", CELL + "1 / 0")
    assert "ZeroDivisionError" in capsys.readouterr().out
    assert [found.variable for found in prof.trace.saved] == ["multiply"]


def test_a_bad_name_is_refused_in_one_line(shell, capsys):
    assert shell.run_cell_magic("memprop", "a b", "1 / 0") is None
    assert capsys.readouterr().out.startswith("%%memprop takes one name for the profiler")
