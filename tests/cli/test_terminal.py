"""What stands on a terminal: bars as long as the bytes, no line too wide, no colour unasked."""

import io
import os
import pty
import subprocess
import sys

import pytest
from rich.console import Console

import memprop as mp
from memprop.cli.chart import LETTERS, MOST_STRETCHES, timeline
from memprop.cli.output import breakdown, cached
from memprop.terms import CATEGORIES
from memprop.traces.colors import CATEGORY_COLORS
from memprop.traces.recorder import Recorder

STEPS = {
    "short": lambda: mp.simulate(mp.MLP([4, 2]), 3, mode="inference"),
    "deep": lambda: mp.simulate(mp.MLP([64, *[48] * 9, 10]), 32, schedule="sqrt", optimizer="adam"),
    "textbook": lambda: mp.simulate(mp.MLP([64, 32, 32, 10]), 16, schedule="textbook"),
}


def screen(width=100, **options):
    return Console(
        file=io.StringIO(), width=width, highlight=False, markup=False, _environ={}, **options
    )


def printed(made, console):
    console.print(made)
    return console.file.getvalue()


@pytest.mark.parametrize("name", STEPS)
def test_bars_are_as_long_as_the_live_bytes_and_split_as_they_are(name):
    step = STEPS[name]()
    _, *rows = printed(timeline(step, screen(140)), screen(140)).splitlines()
    bars = [[word for word in row.split() if set(word) <= set(LETTERS.values())] for row in rows]
    peak_row = next(n for n, row in enumerate(rows) if row.endswith("< peak"))
    scale = step.peak / len(bars[peak_row][-1])
    for category, size in step.peak_by_category().items():
        drawn = bars[peak_row][-1].count(LETTERS[category])
        assert drawn == pytest.approx(size / scale, abs=1)
    assert max(len(bar[-1]) for bar in bars[:-1] if bar) == len(bars[peak_row][-1])
    assert len(rows) == min(MOST_STRETCHES, len(step.events)) + 1
    assert mp.format_bytes(step.peak) in rows[peak_row]
    assert step.peak_operator in rows[peak_row]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
@pytest.mark.parametrize("name", STEPS)
def test_no_line_is_wider_than_the_terminal(name, width):
    step = STEPS[name]()
    for made in (timeline(step, screen(width)), breakdown(step), cached(step, width)):
        lines = printed(made, screen(width)).splitlines()
        assert max(map(len, lines)) <= width
    chart = printed(timeline(step, screen(width)), screen(width)).splitlines()
    assert len(chart) <= MOST_STRETCHES + 5  # a row stays a row


def test_names_too_long_for_a_row_are_cut():
    told = Recorder()
    variable = told.variable("x", "activation", (1,), "int8", 10)
    told.allocate(variable, 0, 10, "forward", told.operator("very_long_" * 9, "forward"))
    chart = printed(timeline(told.trace(), screen(80)), screen(80))
    assert "very_long_very_long_ve.. AAAA" in chart


def test_numbers_are_not_folded_where_the_terminal_is_narrow():
    step = STEPS["textbook"]()
    table = printed(cached(step, 60), screen(60))
    for found in step.saved:
        assert mp.format_bytes(found.bytes) in table
    assert "last" not in table
    assert "freed" in printed(cached(step, 120), screen(120))


def test_a_terminal_with_colours_gets_the_colours_of_the_figures():
    step = STEPS["deep"]()
    console = screen(force_terminal=True, color_system="truecolor")
    chart = printed(timeline(step, console), console)
    present = [
        name for name, live in zip(CATEGORIES, step.live.by_category.T, strict=True) if live.any()
    ]
    assert len(present) >= 6
    for category in present:
        red, green, blue = (int(CATEGORY_COLORS[category][n : n + 2], 16) for n in (1, 3, 5))
        assert f"\x1b[38;2;{red};{green};{blue}m\N{FULL BLOCK}" in chart


@pytest.mark.parametrize("system", ["standard", None])
def test_where_colours_do_not_tell_categories_apart_letters_do(system):
    step = STEPS["deep"]()
    console = screen(force_terminal=True, color_system=system)
    chart = printed(timeline(step, console), console)
    assert "\N{FULL BLOCK}" not in chart
    assert "PPPP" in chart


def test_letters_tell_all_categories_apart():
    assert set(LETTERS) == set(CATEGORIES)
    assert len(set(LETTERS.values())) == len(CATEGORIES)


PLAIN = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")}
COMMANDS = {
    "profile": ["profile", "--depth", "2", "--width", "16", "--batch", "8"],
    "plan": ["plan", "--depth", "4", "--width", "32", "--batch", "64", "--budget", "80 KiB"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_piped_has_no_escape_in_it(command):
    done = subprocess.run(
        [sys.executable, "-m", "memprop", *COMMANDS[command]],
        capture_output=True, check=True, env={**PLAIN, "TERM": "xterm-256color"},
    )  # fmt: skip
    assert b"\x1b" not in done.stdout
    assert b"Live bytes over the step" in done.stdout
    assert b"PP" in done.stdout


def on_a_terminal(arguments, **environ):
    """What a command writes to a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "memprop", *arguments],
        stdout=theirs, stdin=theirs, stderr=theirs,
        env={**PLAIN, "TERM": "xterm-256color", "COLUMNS": "90", **environ},
    ) as running:  # fmt: skip
        os.close(theirs)
        parts = []
        try:
            while part := os.read(ours, 65536):
                parts.append(part)
        except OSError:
            pass  # Linux says so that the other end is closed
        os.close(ours)
    assert running.returncode == 0
    return b"".join(parts).decode()


def test_a_terminal_gets_colour_unless_it_asks_for_none():
    assert "\x1b[38;5;" in on_a_terminal(COMMANDS["profile"])
    plain = on_a_terminal(COMMANDS["profile"], NO_COLOR="1")
    assert "\x1b[3" not in plain
    assert "PP" in plain
