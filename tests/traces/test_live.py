"""Live bytes and the check of lives, against a replay event by event."""

import numpy as np
import pytest

from memprop.errors import TraceFormatError
from memprop.terms import CATEGORIES
from memprop.traces.events import ALLOCATE, FREE, READ, Events, TracedVariable
from memprop.traces.live import buffers_at, live_bytes, lives_of
from memprop.traces.trace import Trace

VARIABLES = 7
CATEGORY = np.array([number % len(CATEGORIES) for number in range(VARIABLES)])


def random_moves(seed, count=60):
    """Kind, variable and storage of events in which variables share storages, and come again."""
    generator = np.random.default_rng(seed)
    home, moves = {}, []
    for _ in range(count):
        variable = int(generator.integers(VARIABLES))
        if variable not in home:
            home[variable] = int(generator.integers(4))
            moves.append((ALLOCATE, variable, home[variable]))
        elif generator.random() < 0.5:
            moves.append((READ, variable, home[variable]))
        else:
            moves.append((FREE, variable, home.pop(variable)))
    return moves


def columns(moves):
    kind, variable, storage = np.array(moves, dtype=np.int64).T
    nothing = np.zeros(len(moves), dtype=np.int64)
    return Events(kind, nothing, nothing - 1, variable, storage, 10 + storage, nothing - 1)


def replayed(moves):
    """Bytes by category after each event: each storage counts for the oldest variable in it."""
    living, rows = [], []
    for kind, variable, storage in moves:
        if kind == ALLOCATE:
            living.append((variable, storage))
        elif kind == FREE:
            living.remove((variable, storage))
        oldest = {}
        for inside, where in living:
            oldest.setdefault(where, inside)
        row = [0] * len(CATEGORIES)
        for where, inside in oldest.items():
            row[CATEGORY[inside]] += 10 + where
        rows.append(row)
    return rows


@pytest.mark.parametrize("seed", range(40))
def test_live_bytes_are_those_of_a_replay(seed):
    moves = random_moves(seed)
    events = columns(moves)
    live = live_bytes(events, lives_of(events), CATEGORY)
    assert live.by_category.tolist() == replayed(moves)
    assert live.total.tolist() == [sum(row) for row in replayed(moves)]


@pytest.mark.parametrize("seed", range(10))
def test_the_buffers_at_an_event_are_those_of_a_replay(seed):
    moves = random_moves(seed)
    events = columns(moves)
    lives, living = lives_of(events), []
    for event, (kind, variable, storage) in enumerate(moves):
        if kind == ALLOCATE:
            living.append((variable, storage, event))
        elif kind == FREE:
            living = [life for life in living if life[0] != variable]
        oldest = {}
        for inside, where, born in living:
            oldest.setdefault(where, (inside, 10 + where, born))
        found = [(b.variable, b.bytes, b.born) for b in buffers_at(events, lives, event)]
        assert found == sorted(oldest.values(), key=lambda buffer: buffer[2])


def first_impossible(moves):
    """The first event that a replay stumbles over; ``None`` if there is none."""
    home = {}
    for event, (kind, variable, storage) in enumerate(moves):
        if kind == ALLOCATE and variable in home:
            return event
        if kind != ALLOCATE and home.get(variable) != storage:
            return event
        if kind == ALLOCATE:
            home[variable] = storage
        elif kind == FREE:
            del home[variable]
    return None


@pytest.mark.parametrize("seed", range(40))
def test_the_first_impossible_event_is_the_one_a_replay_stumbles_over(seed):
    generator = np.random.default_rng(seed)
    moves = random_moves(seed)
    place = int(generator.integers(len(moves)))
    moves[place] = (int(generator.integers(3)), *moves[place][1:])
    variables = tuple(
        TracedVariable(f"v{number}", CATEGORIES[CATEGORY[number]], None, (1,), "uint8", 1)
        for number in range(VARIABLES)
    )
    expected = first_impossible(moves)
    if expected is None:
        Trace(events=columns(moves), variables=variables, operators=())
        return
    with pytest.raises(TraceFormatError, match=f"^event {expected} "):
        Trace(events=columns(moves), variables=variables, operators=())
