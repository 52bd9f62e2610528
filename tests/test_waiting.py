"""A bar for what takes long, on a terminal, and only one."""

import os
import sys
import time
from contextlib import contextmanager

import pytest

from memprop import waiting as module
from memprop.waiting import waiting

pty = pytest.importorskip("pty", reason="there are no terminals here")


@contextmanager
def terminal(monkeypatch, patience=0.05):
    """A terminal as stderr; gives what was written to it."""
    monkeypatch.setattr(module, "PATIENCE_SECONDS", patience)
    monkeypatch.setenv("TERM", "xterm")
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)

        def written():
            stderr.flush()
            os.set_blocking(leader, False)
            try:
                return os.read(leader, 1_000_000).decode()
            except BlockingIOError:
                return ""

        yield written
    os.close(leader)


def within_seconds(most, text, written):
    """Whether a text appears in time."""
    until = time.monotonic() + most
    while time.monotonic() < until:
        if text in written():
            return True
        time.sleep(0.05)
    return False


def test_a_bar_is_shown_once_it_takes_long(monkeypatch):
    with terminal(monkeypatch) as written, waiting("planning") as describe:
        assert within_seconds(10, "planning", written)
        describe("confirming")
        assert within_seconds(10, "confirming", written)


def test_what_is_done_at_once_shows_nothing(monkeypatch):
    with terminal(monkeypatch, patience=60) as written:
        with waiting("planning"):
            pass
        assert "planning" not in written()


def test_within_another_there_is_no_second_bar(monkeypatch):
    with terminal(monkeypatch) as written, waiting("simulating") as outer:
        with waiting("planning") as inner:
            assert inner is outer
            assert within_seconds(10, "simulating", written)
        assert not within_seconds(0.5, "planning", written)


def test_where_stderr_is_no_terminal_there_is_none(capsys):
    with waiting("planning") as describe:
        assert describe is None
    assert capsys.readouterr().err == ""
