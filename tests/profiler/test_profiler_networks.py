"""Networks that were not written for memprop: what they keep, against formulas and tracemalloc."""

import course_conv
import course_lstm
import numpy as np
import pytest
from course_mlp import TwoLayerNet

import memprop as mp

FLOAT = 8


def assert_bits(watched, plain):
    assert len(watched) == len(plain)
    for one, other in zip(watched, plain, strict=True):
        assert (one.dtype, one.shape, one.strides) == (other.dtype, other.shape, other.strides)
        assert one.tobytes() == other.tobytes()


def profile_mlp(net, x, y):
    prof = mp.Profiler()
    net.params = prof.watch(net.params, "params", category="parameter")
    x = prof.watch(x, "x")
    with prof.phase("forward"):
        scores, cache = net.forward(x)
    with prof.phase("loss"):
        loss, probs = net.loss(scores, y)
    with prof.phase("backward"):
        grads = net.backward(cache, probs, y)
    return prof, loss, grads


@pytest.fixture
def data():
    rng = np.random.default_rng(1)
    return rng.normal(size=(40, 12)), rng.integers(0, 5, 40)


def test_a_watched_network_computes_the_same_bits(data):
    x, y = data
    net = TwoLayerNet(12, 30, 5)
    scores, cache = net.forward(x)
    loss, probs = net.loss(scores, y)
    plain = net.backward(cache, probs, y)
    _, watched_loss, grads = profile_mlp(TwoLayerNet(12, 30, 5), x, y)
    assert type(watched_loss) is type(loss)
    assert watched_loss == loss
    assert_bits(list(grads.values()), list(plain.values()))


def test_a_two_layer_network_keeps_what_the_textbook_says(data):
    prof, _, _ = profile_mlp(TwoLayerNet(12, 30, 5), *data)
    n, d, h, q = 40, 12, 30, 5
    assert prof.trace.saved_bytes == FLOAT * (n * d + 2 * n * h + n * q)
    kept = prof.trace.intermediates()
    assert kept["variable"].tolist() == ["x", "add", "maximum", "divide"]
    assert kept["bytes"].tolist() == [FLOAT * n * size for size in (d, h, h, q)]


def test_it_keeps_as_much_as_the_engines_textbook_schedule(data):
    model = mp.MLP([12, 30, 5], dtype="float64")
    prof, _, _ = profile_mlp(TwoLayerNet(12, 30, 5), *data)
    assert prof.trace.saved_bytes == mp.trace(model, *data, schedule="textbook").saved_bytes
    assert prof.trace.persistent_bytes == mp.trace(model, *data).persistent_bytes


def test_tracemalloc_sees_the_same_bytes_where_all_arrays_are_watched(data):
    prof, _, _ = profile_mlp(TwoLayerNet(12, 30, 5), *data)
    table = prof.phases()
    assert table["unseen_bytes"].tolist() == [0, 0, 0]
    assert table["exit_bytes"].iloc[-1] > 0


def test_the_ledgers_peak_is_that_of_tracemalloc():
    n, d, h, q = 1000, 300, 200, 10
    rng = np.random.default_rng(0)
    prof, _, _ = profile_mlp(TwoLayerNet(d, h, q), rng.normal(size=(n, d)), rng.integers(0, q, n))
    traced = prof.phases()["traced_peak_bytes"].max()
    there_before = prof.trace.persistent_bytes + FLOAT * n * d
    parts = prof.trace.peak_by_category()
    assert parts["input"] == FLOAT * n * d
    ours = prof.trace.peak - there_before - FLOAT * n  # the labels, which were there before too
    assert ours <= traced <= ours + 128 * 1024 + 0.01 * ours


def test_the_kept_arrays_of_level_one_are_those_that_live_when_backward_begins(data):
    net, (x, y) = TwoLayerNet(12, 30, 5), data
    prof = mp.Profiler()
    with prof.phase("forward"):
        scores, cache = net.forward(x)
    with prof.phase("backward"):
        net.backward(cache, scores, y)
    kept = prof.cached()
    n, h, q = 40, 30, 5
    assert kept["bytes"].sum() == FLOAT * (2 * n * h + n * q)  # z, h, scores; x was there before
    assert kept["count"].sum() == 3
    assert all("course_mlp.py:" in site for site in kept["site"])


@pytest.mark.parametrize(
    "forward",
    [course_conv.forward_indices, course_conv.forward_strides],
    ids=["indices", "strides"],
)
@pytest.mark.parametrize("padding", [0, 1])
def test_a_convolution_by_im2col_keeps_its_columns(forward, padding):
    n, c, size, filters, k = 3, 2, 6, 4, 3
    rng = np.random.default_rng(0)
    x, w, b = rng.normal(size=(n, c, size, size)), rng.normal(size=(filters, c, k, k)), np.ones(4)
    prof = mp.Profiler()
    watched = prof.watch(x, "x")
    params = prof.watch([w, b], "params", category="parameter")
    with prof.phase("forward"):
        out, cache = forward(watched, *params, padding)
    np.testing.assert_array_equal(out, forward(x, w, b, padding)[0])
    if forward is course_conv.forward_indices:
        with prof.phase("backward"):
            grads = course_conv.backward_indices(np.ones_like(out), cache)
        plain_out, plain_cache = forward(x, w, b, padding)
        assert_bits(grads, course_conv.backward_indices(np.ones_like(plain_out), plain_cache))
    else:
        with prof.phase("backward"):
            np.ones_like(out).reshape(filters, -1) @ cache[2].T
    rows = size + 2 * padding - k + 1
    assert prof.trace.saved_bytes == FLOAT * c * k * k * n * rows * rows
    (kept,) = prof.trace.saved
    assert "course_conv.py:" in kept.site


def test_an_lstm_keeps_seven_states_a_step():
    n, steps, d, hidden = 3, 5, 4, 6
    rng = np.random.default_rng(0)
    x, h0 = rng.normal(size=(n, steps, d)), rng.normal(size=(n, hidden))
    weights = [rng.normal(size=s) for s in ((d, 4 * hidden), (hidden, 4 * hidden), (4 * hidden,))]
    prof = mp.Profiler()
    inputs = prof.watch({"x": x, "h0": h0}, "in")
    params = prof.watch(weights, "params", category="parameter")
    with prof.phase("forward"):
        hs, caches = course_lstm.forward(inputs["x"], inputs["h0"], *params)
    with prof.phase("backward"):
        grads = course_lstm.backward(np.ones_like(hs), caches)
    plain_hs, plain_caches = course_lstm.forward(x, h0, *weights)
    assert_bits([hs], [plain_hs])
    plain = course_lstm.backward(np.ones_like(plain_hs), plain_caches)
    assert_bits(grads, plain)
    # x; and for each step h and c of the one before, i, f, o, g and tanh(c).
    assert prof.trace.saved_bytes == FLOAT * n * steps * (d + 7 * hidden)
    # dx is a plain array that plain NumPy fills: tracemalloc sees it, watching does not.
    assert prof.phases()["unseen_bytes"].tolist() == [0, FLOAT * n * steps * d]
