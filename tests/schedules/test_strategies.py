"""Strategies are registered, users' own among them, and named everywhere alike."""

import math
import re
from contextlib import contextmanager

import pytest

import memprop as mp
from memprop.schedules.check import check
from memprop.schedules.every import every
from memprop.schedules.names import STRATEGIES, strategy_named, written
from memprop.schedules.stages import layers

MODEL = mp.MLP([6, *[8] * 9, 3])


@contextmanager
def registered(strategy):
    mp.register(strategy)
    try:
        yield strategy
    finally:
        STRATEGIES.remove(strategy.name)


def thirds(graph):
    return every(graph, math.ceil(len(layers(graph)) / 3))


def test_a_strategy_of_ones_own_is_predicted_run_and_written_in_messages():
    with registered(mp.Strategy(name="thirds", order=thirds)):
        check(mp.schedule(MODEL, batch=6, strategy="thirds"))
        assert mp.simulate(MODEL, 6, schedule="thirds") == mp.simulate(
            MODEL, 6, schedule=f"every:{math.ceil(10 / 3)}"
        )
        sliced = mp.schedule(MODEL, batch=6, strategy="thirds+microbatch:2")
        assert sliced.micro_batches == 2
        assert "thirds" in written()
        assert mp.peak_bytes(MODEL, 99, schedule="thirds") < mp.peak_bytes(MODEL, 99)
    with pytest.raises(mp.MempropError, match="unknown schedule 'thirds'"):
        mp.simulate(MODEL, 6, schedule="thirds")


def test_its_number_is_checked_as_that_of_ours():
    with registered(mp.Strategy(name="parts", order=every, number="n", counts="layers in a part")):
        assert mp.schedule(MODEL, batch=6, strategy="parts:2").name == "parts:2"
        with pytest.raises(mp.MempropError, match="needs the number of layers in a part"):
            mp.simulate(MODEL, 6, schedule="parts:0")
        assert "parts:n" in written()


def test_its_number_may_be_read_in_its_own_way():
    def read(text):
        return {"two": 2}[text]

    with registered(mp.Strategy(name="words", order=every, number="WORD", read=read)):
        assert strategy_named("words:two").argument == 2


def test_a_name_that_is_taken_is_refused():
    with pytest.raises(mp.MempropError, match="a schedule named 'lean' is registered already"):
        mp.register(mp.Strategy(name="lean", order=thirds))


@pytest.mark.parametrize("given", [{}, {"order": thirds, "plan": lambda request: None}])
def test_a_strategy_has_either_an_order_or_a_plan(given):
    with pytest.raises(mp.MempropError, match="either an order or a plan"):
        mp.Strategy(name="odd", **given)


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_example_of_every_strategy_can_be_planned(name):
    strategy = STRATEGIES[name]
    assert re.fullmatch(r"[a-z]+(:.+)?", strategy.example_name)
    mode = "inference" if name == "inference" else "train"
    trace = mp.simulate(MODEL, 256, schedule=strategy.example_name, mode=mode)
    assert trace.about["schedule"] == strategy.example_name
