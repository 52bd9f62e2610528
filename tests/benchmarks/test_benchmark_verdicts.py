"""Medians, ratios and verdicts of the benchmarks, computed from numbers that are made up here."""

import pandas as pd
import pytest

from experiments.benchmarks import ledger, memory, prediction, recomputation, start, step_time
from experiments.benchmarks.contenders.schedules import operator_seconds
from experiments.benchmarks.contest import hopeless
from experiments.benchmarks.effort import SMALLEST, Shape
from experiments.benchmarks.lineup import EAGER, ENGINE, JAX, LIMIT, Contender
from experiments.benchmarks.outcome import Outcome, best, ratio, spread
from experiments.benchmarks.section import Verdict, at_least, at_most
from memprop.traces.recorder import Recorder

WIDE = Shape(8, 1024, 512)


def outcome(name, *rounds, threads=1, note=""):
    return Outcome(Contender(name, (name,), threads), rounds, note)


def race(shape, *outcomes):
    return step_time.Race(shape, None, list(outcomes))


def test_a_spread_is_the_median_and_the_quartiles():
    found = spread([5.0, 1.0, 4.0, 2.0, 3.0])
    assert (found.low, found.median, found.high) == (2.0, 3.0, 4.0)
    assert spread([7.0]).low == spread([7.0]).high == 7.0


def test_a_ratio_pairs_rounds_so_that_a_slow_round_cancels():
    slowed_together = ratio(outcome("a", 1.0, 10.0, 1.0), outcome("b", 2.0, 20.0, 2.0))
    assert slowed_together == spread([0.5])
    assert ratio(None, outcome("b", 1.0)) is None


def test_the_best_is_the_fastest_number_of_threads_that_ran_to_the_end():
    one, two = outcome(JAX, 3.0, 3.0), outcome(JAX, 2.0, 2.0, threads=2)
    stopped = outcome(JAX, 1.0, threads=3, note="failed: killed")
    assert best(JAX, [one, two, stopped, outcome(EAGER, 0.5)]) is two
    assert best(LIMIT, [one, two]) is None


def test_only_a_slower_number_of_threads_of_the_same_contender_is_stopped():
    def judged(rounds):
        two = outcome(JAX, *[1.4] * rounds, threads=2)
        found = hopeless([outcome(JAX, *[1.0] * rounds), two, outcome(EAGER, *[9.0] * rounds)])
        return [bool(o.note) for o in found]

    assert judged(2) == [False, True, False]
    assert judged(1) == [False, False, False]  # one round may have been disturbed


def test_verdicts_count_what_was_measured_and_name_the_worst():
    assert at_most("t", 1.0, [0.5, 1.5, None], "{:.1f}") == Verdict(
        "t", "1.5 at worst; met by 1 of 2", met=False
    )
    assert at_least("t", 0.9, [0.95], "{:.2f}") == Verdict("t", "0.95", met=True)
    assert at_most("t", 1.0, [None], "{:.1f}") == Verdict("t", "not measured", None)


def test_a_step_is_judged_by_its_best_threads_and_only_wide_ones_by_the_limit():
    races = [
        race(SMALLEST, outcome(LIMIT, 1.0), outcome(ENGINE, 4.0), outcome(JAX, 2.0)),
        race(
            WIDE,
            outcome(LIMIT, 9.0),
            outcome(LIMIT, 5.7, threads=2),
            outcome(ENGINE, 6.0, threads=2),
            outcome(JAX, 8.0),
        ),
    ]
    limit, eager, _, jax = step_time.verdicts(races)
    assert (limit.found, limit.met) == ("0.95", True)
    assert eager.met is None
    assert (jax.found, jax.met) == ("2.00 times at worst; met by 1 of 2", False)
    cells = step_time.section(races).cells
    assert list(cells["of the limit"]) == ["0.25 (0.25-0.25)", "0.95 (0.95-0.95)"]
    assert cells["memprop"][1].endswith("[2]")


def test_the_ledger_is_judged_at_its_own_limit_for_small_steps():
    small = ledger.Recorded(SMALLEST, 1, off=(1.0, 2.0, 1.0), on=(1.09, 2.18, 1.2))
    large = ledger.Recorded(WIDE, 1, off=(1.0,), on=(1.02,))
    met = [verdict.met for verdict in ledger.verdicts([small, large])]
    assert met == [False, True]


def test_memory_is_compared_step_by_step_with_no_slack_for_own_accounts():
    steps = {memory.ARENA: (10**6, 1001), EAGER: (10**6 - memory.SLACK_BYTES, 1000)}
    found = [memory.Weighed(WIDE, None, name, *sizes) for name, sizes in steps.items()]
    verdicts = {verdict.target: verdict.met for verdict in memory.verdicts(found)}
    assert verdicts["no more than PyTorch eager, by the kernel"] is True
    assert verdicts["no more than PyTorch eager, by its own account"] is False
    assert verdicts["no more than JAX jit, by its own account"] is None


@pytest.mark.parametrize("exponent", [1.0, 1.5])
def test_the_slope_is_the_exponent_of_a_power_law(exponent):
    powers = [prediction.Predicted(d, "simulate", (d**exponent,), (1.0,)) for d in (100, 200, 800)]
    assert prediction.slope(powers) == pytest.approx(exponent)


def test_a_prediction_is_off_by_its_share_of_the_measured_ratio():
    near = recomputation.Slowed(WIDE, "sqrt", 1, 1.25, (1.2, 1.3, 1.5))
    assert near.off == pytest.approx(1.3 / 1.25 - 1)
    lean = recomputation.Slowed(WIDE, "lean", 1, 1.0, (2.0,))
    assert recomputation.verdicts([lean, near])[0].met is True


def test_the_time_of_an_operator_is_from_its_first_event_to_its_last():
    def step(slower):
        recorder = Recorder()
        x = recorder.variable("x", "input", (1,), "float32", 4)
        y = recorder.variable("y", "activation", (1,), "float32", 4)
        double = recorder.operator("double", "forward")
        recorder.allocate(x, 0, 4, "setup", at=0)
        recorder.allocate(y, 1, 4, "forward", double, at=1_000)
        recorder.read(x, 0, 4, "forward", double, at=3_000 + slower)
        for variable, storage in ((x, 0), (y, 1)):
            recorder.free(variable, storage, 4, "end", at=90_000)
        return recorder.trace()

    traces = [step(0), step(500), step(70_000)]
    assert operator_seconds(traces) == {"double": pytest.approx(2.5e-6)}


def test_start_is_judged_by_rounds_run_one_after_the_other():
    rounds = {start.NUMPY: (1.0, 2.0), start.MEMPROP: (1.2, 2.4), start.HELP: (0.4, 0.4)}
    assert [verdict.met for verdict in start.verdicts(rounds)] == [True, False]
    assert isinstance(start.section(rounds).cells, pd.DataFrame)
