"""Tables, findings and figures say what the rows say; rows are made by hand here."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import memprop as mp
from memprop.report import breakdown, plots, witnesses
from memprop.report.findings import agreement_findings, findings
from memprop.report.frames import agreements, fit_claim, training_against_inference
from memprop.report.tradeoff import summarize, tradeoffs
from memprop.report.tradeoff_plots import measured_against_predicted, memory_against_recomputation
from memprop.sweep.results import frame
from memprop.terms import CATEGORIES
from memprop.traces.colors import CATEGORY_COLORS
from memprop.traces.figures import plot_lifetimes


def row(depth, batch, mode="train", schedule="lean", *, peak, **more):
    return {
        "depth": depth, "batch": batch, "width": 8, "mode": mode, "schedule": schedule,
        "activation": "relu", "optimizer": "none", "loss": "cross_entropy", "bias": True,
        "l2": 0.0, "dtype": "float32", "status": "ok", "message": "", "predicted_peak": peak,
        "ledger_peak": peak, "peak_operator": "linear_1.db1", "saved_bytes": 10 * batch,
        "saved_count": depth + 2, "persistent_bytes": 100, **more,
    }  # fmt: skip


def planted(depth, batch):
    """A peak that is affine in depth, batch and their product."""
    return 5000 + 700 * depth + 30 * batch + 16 * depth * batch


@pytest.fixture
def results():
    rows = []
    for depth in (1, 2, 4):
        for batch in (8, 32, 128):
            peak = planted(depth, batch)
            rows.append(row(depth, batch, peak=peak, kernel_peak=peak + 4096))
            rows.append(row(depth, batch, "inference", "inference", peak=peak // 2))
    return frame(rows)


def test_the_fit_finds_planted_coefficients(results):
    train = results[results["mode"] == "train"]
    fit = fit_claim(train["depth"], train["batch"], train["ledger_peak"])
    found = (fit.constant, fit.per_layer, fit.per_sample, fit.per_layer_and_sample)
    assert found == pytest.approx((5000, 700, 30, 16))
    assert fit.r_squared == pytest.approx(1)
    assert abs(fit.largest_residual) < 1e-6


def test_the_fit_names_the_largest_residual():
    depth, batch = (np.ravel(axis) for axis in np.meshgrid([1, 2, 4, 8], [1, 2, 4, 8, 16]))
    peak = planted(depth, batch) + np.where((depth == 2) & (batch == 4), 1000, 0)
    fit = fit_claim(pd.Series(depth), pd.Series(batch), pd.Series(peak))
    assert fit.residual_at == (2, 4)
    assert 0 < fit.largest_residual < 1000  # least squares gives way a little everywhere
    # R^2 from its definition, with the coefficients of an independent solver.
    design = np.column_stack([np.ones(len(peak)), depth, batch, depth * batch])
    solved = np.linalg.solve(design.T @ design, design.T @ peak)
    residual = peak - design @ solved
    assert fit.r_squared == pytest.approx(1 - residual.var() / peak.var())


def test_too_few_points_have_no_fit():
    one = pd.Series([1, 1, 1, 1, 1])
    assert fit_claim(one, pd.Series([1, 2, 3, 4, 5]), pd.Series([1, 2, 3, 4, 5])) is None


def test_training_stands_beside_the_inference_of_the_same_network(results):
    table = training_against_inference(results)
    assert len(table) == 9
    assert (table["ratio"] > 1.99).all()
    assert table.loc[0, ["train_bytes", "inference_bytes"]].tolist() == [
        planted(1, 8),
        planted(1, 8) // 2,
    ]


def test_a_witness_beyond_its_bound_is_counted_not_hidden(results):
    results.loc[0, "kernel_peak"] += 600 * 1024
    found = {agreement.witness: agreement for agreement in agreements(results)}
    assert found["kernel"].broken == 1
    assert found["kernel"].worst == 600 * 1024 + 4096
    assert found["kernel"].median == 4096
    assert "1 of 9 trials beyond" in " ".join(agreement_findings(results))
    assert (found["prediction"].worst, found["prediction"].broken) == (0, 0)


def test_a_wrong_prediction_is_counted(results):
    results.loc[3, "predicted_peak"] += 1
    assert {a.witness: a for a in agreements(results)}["prediction"].broken == 1
    assert "to within 1 B" in " ".join(agreement_findings(results))


def test_findings_say_the_ratio_and_the_fit(results):
    text = " ".join(findings(results))
    assert "2.0 to 2.0 times" in text
    assert "5,000 B + 700 B x depth + 30 B x batch + 16 B x depth x batch" in text


def test_failed_trials_are_told():
    rows = [row(1, 8, peak=100), row(1, 16, peak=None, status="oom", ledger_peak=None)]
    text = " ".join(agreement_findings(frame(rows)))
    assert "1 of 2 trials did not run to the end: 1 oom" in text


def test_lines_of_the_figure_are_the_rows(results):
    for along, other in (("batch", "depth"), ("depth", "batch")):
        figure = plots.peak_against(results, along)
        (axes,) = figure.axes
        drawn = {tuple(np.asarray(line.get_ydata(), dtype=int)) for line in axes.lines}
        for _, part in results.groupby(["mode", other]):
            assert tuple(part.sort_values(along)["ledger_peak"]) in drawn
        assert axes.get_ylabel() == "peak live bytes"
        plt.close(figure)


def test_the_heat_map_shows_the_ratios(results):
    figure = plots.ratio_map(results)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["2.0"] * 9
    plt.close(figure)


@pytest.fixture
def traded():
    """Two depths: half the memory for a third more FLOPs, timed a little better than that."""
    rows = []
    for depth in (4, 16):
        peak, flops = 1000 * depth, 300 * depth
        again = {"every:2": (0.5, 100), "sqrt": (0.4, 120), "lean": (1, 0)}
        for name, (share, more) in again.items():
            rows.append(
                row(depth, 8, schedule=name, peak=int(peak * share), flops=flops + more * depth,
                    recomputed_flops=more * depth, step_seconds=1 + more / 400)
            )  # fmt: skip
        rows.append(row(depth, 8, "inference", "inference", peak=peak // 4, flops=depth))
    return frame(rows)


def test_tradeoffs_are_held_against_lean(traded):
    table = tradeoffs(traded).set_index(["depth", "schedule"])
    assert len(table) == 6
    assert table.loc[(16, "lean"), "peak_share"] == 1
    found = table.loc[(16, "sqrt")]
    assert found["peak_bytes"] == 6400
    assert found["peak_share"] == pytest.approx(0.4)
    assert found["recomputed_share"] == pytest.approx(0.4)
    assert found["predicted_slowdown"] == pytest.approx(1.4)
    assert found["measured_slowdown"] == pytest.approx(1.3)
    text = " ".join(summarize(tradeoffs(traded)))
    assert "sqrt needs 40% of the memory of lean" in text
    assert "1.40 times the FLOPs, and took 1.30 times as long" in text
    assert "differs from that of the FLOPs by -6.7% in the median and -7.1% at worst" in text


def test_without_recomputation_there_is_no_tradeoff(results):
    assert tradeoffs(results).empty
    assert list(summarize(tradeoffs(results))) == []


def test_points_lie_where_the_rows_say_and_the_frontier_under_them(traded):
    table = tradeoffs(traded)
    frontier = mp.frontier(mp.MLP([64, *[8] * 16, 10]), 8)
    figure = memory_against_recomputation(table, {16: frontier})
    shallow, deep = figure.axes
    points = {(line.get_xdata()[0], line.get_ydata()[0]) for line in shallow.lines}
    part = table[table["depth"] == 4]
    assert points == set(zip(part["peak_bytes"], part["predicted_slowdown"], strict=True))
    staircase = deep.lines[0].get_ydata()
    assert list(staircase) == sorted(staircase, reverse=True)
    assert staircase[-1] == 1
    plt.close(figure)
    figure = measured_against_predicted(table)
    drawn = [tuple(line.get_ydata()) for line in figure.axes[0].lines]
    assert pytest.approx((1.25, 1.25)) in drawn  # every:2 at both depths
    plt.close(figure)


def test_one_figure_holds_all_schedules_where_only_depth_varies(traded):
    figure = plots.peak_against(traded, "depth")
    (axes,) = figure.axes
    drawn = {line.get_label(): tuple(line.get_ydata()) for line in axes.lines}
    assert drawn["sqrt"] == (1600, 6400)
    assert drawn["inference"] == (1000, 4000)
    plt.close(figure)


def test_steps_stand_side_by_side_on_one_scale():
    mlp = mp.MLP([64, *[32] * 9, 10])
    traces = [(name, mp.simulate(mlp, 64, schedule=name)) for name in ("lean", "sqrt")]
    figure = plots.timelines(traces)
    lean, sqrt = figure.axes
    assert lean.get_ylim() == sqrt.get_ylim()
    assert lean.get_xlim() == sqrt.get_xlim()
    assert lean.dataLim.y1 == pytest.approx(traces[0][1].peak)
    # Forward operators between those of backward are shaded: of sqrt alone.
    bands = [
        [patch for patch in axes.patches if patch.get_alpha() == 0.12] for axes in (lean, sqrt)
    ]
    assert [len(found) for found in bands] == [0, 2]
    plt.close(figure)


def test_every_category_has_one_colour():
    assert set(CATEGORY_COLORS) == set(CATEGORIES)
    assert len(set(CATEGORY_COLORS.values())) == len(CATEGORIES)


def test_the_timeline_reaches_the_peak_and_the_lives_have_a_mark_at_each_reuse():
    trace = mp.simulate(mp.MLP([64, 32, 32, 10]), 16, schedule="textbook")
    axes = trace.plot()
    assert axes.dataLim.y1 == pytest.approx(trace.peak)
    plt.close(axes.figure)
    axes = plot_lifetimes(trace)
    table = trace.intermediates()
    assert len(axes.patches) == len(table)
    marks = sum(len(line.get_xdata()) for line in axes.lines if line.get_marker() == "|")
    assert marks == table["reuses"].sum()
    plt.close(axes.figure)


def test_what_is_computed_again_has_a_bar_for_each_life():
    trace = mp.simulate(mp.MLP([64, *[32] * 9, 10]), 16, schedule="sqrt")
    axes = plot_lifetimes(trace)
    table = trace.intermediates()
    # Ten layers in segments of 4, 4 and 2, of which the last is there still.
    again = list(table.loc[table["recomputed"], "variable"])
    assert again == ["h1", "h2", "h3", "h5", "h6", "h7"]
    bars = [patch.get_alpha() for patch in axes.patches if patch.get_alpha() != 0.12]  # no bands
    assert len(bars) == len(table) + len(again)
    assert bars.count(0.35) == len(again)
    marks = sum(len(line.get_xdata()) for line in axes.lines if line.get_marker() == "|")
    assert marks == table["reuses"].sum()
    plt.close(axes.figure)


def test_every_witness_stands_beside_the_ledger_trial_by_trial(results):
    results["tracemalloc_peak"] = results["ledger_peak"] + 100
    results.loc[3, "tracemalloc_peak"] = results.loc[3, "ledger_peak"] + 20_000
    cells = witnesses.cells(results)
    assert len(cells) == (results["status"] == "ok").sum()
    assert cells.loc[3, "tracemalloc"] == "+20,000 (!)"
    assert cells["tracemalloc"].str.contains("!", regex=False).sum() == 1
    assert set(cells["prediction"]) == {"+0"}
    figure = witnesses.agreement(results)
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert "promised of tracemalloc" in labels
    plt.close(figure)


def test_a_breakdown_shows_what_varies_and_says_where_one_overtakes_the_other():
    parts = [f"peak_{category}" for category in CATEGORIES]
    rows = [
        {
            **row(2, 8, peak=100 * width + width**2),
            **dict.fromkeys(parts, 0),
            "width": width,
            "peak_activation": 100 * width,
            "peak_parameter": width**2,
        }
        for width in (10, 50, 200, 400)
    ]
    results = frame(rows)
    bars = breakdown.bars(results)
    assert list(bars["label"]) == ["10", "50", "200", "400"]
    figure = breakdown.breakdown(bars)
    heights = [patch.get_height() for patch in figure.axes[0].patches]
    assert sum(heights) == pytest.approx(4)
    plt.close(figure)
    (told,) = breakdown.summarize(results)
    assert "overtake what the samples need at width 200" in told
    assert "at width 400 they are 80% of the peak" in told
