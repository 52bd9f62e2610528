"""Libraries that know nothing of memprop, at the first level."""

import warnings

import numpy as np
import pytest
from optional import load_optional

import memprop as mp
from memprop.probes.traced import numpy_bytes

FLOAT = 8


def sum_of_sites(table, part):
    return table[table["site"].str.contains(part)]["bytes"].sum()


def test_scikit_learns_network_keeps_its_parameters_and_names_its_lines():
    neural_network = load_optional("sklearn.neural_network")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 20)), rng.integers(0, 3, 200)
    model = neural_network.MLPClassifier((50,), solver="sgd", max_iter=2, random_state=0)
    with mp.Profiler() as prof:
        with prof.phase("fit"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # two epochs do not converge
            model.fit(x, y)
        with prof.phase("predict"):
            probabilities = model.predict_proba(x)
        parameters = [*model.coefs_, *model.intercepts_]
        assert prof.phases()["exit_bytes"].iloc[-1] == numpy_bytes()
    fitted = prof.sites()[prof.sites()["phase"] == "fit"]
    assert sum_of_sites(fitted, "sklearn/neural_network/") >= sum(p.nbytes for p in parameters)
    assert prof.phases()["allocated_bytes"].iloc[-1] >= probabilities.nbytes
    # Each hidden activation of a batch of 200 lives at some time, beside the parameters.
    assert prof.trace.peak >= FLOAT * 200 * 50 + sum(p.nbytes for p in parameters)
    assert prof.trace.about["source"] == "tracemalloc"


def test_autograd_keeps_what_its_backward_pass_needs():
    load_optional("autograd")
    import autograd.numpy as anp
    from autograd.core import make_vjp

    n, d, h = 64, 20, 30
    rng = np.random.default_rng(0)
    x, params = rng.normal(size=(n, d)), [rng.normal(size=(d, h)), rng.normal(size=(h, 1))]

    def loss(params):
        return anp.sum(anp.tanh(x @ params[0]) @ params[1])

    with mp.Profiler() as prof:
        with prof.phase("forward"):
            backward, value = make_vjp(loss, params)
        with prof.phase("backward"):
            grads = backward(1.0)
    kept = prof.cached()
    assert np.isfinite(value)
    # tanh(z) is needed for its own derivative and for that of the product after it; z is not.
    assert FLOAT * n * h <= kept["bytes"].sum() < 2 * FLOAT * n * h + FLOAT * n + 1024
    assert kept["site"].str.contains("autograd/").any()
    hidden = np.tanh(x @ params[0])
    np.testing.assert_allclose(grads[1], hidden.sum(axis=0)[:, None])


def test_what_a_library_makes_of_watched_arrays_is_the_same():
    special = pytest.importorskip("scipy.special")
    linalg = pytest.importorskip("scipy.linalg")
    x = np.random.default_rng(0).normal(size=(6, 6))
    with mp.Profiler() as prof:
        watched = prof.watch(x, "x")
        with prof.phase("forward"):
            found = special.expit(watched)
        assert found.tobytes() == special.expit(x).tobytes()
        assert [o.name for o in prof.trace.operators] == ["expit", "tobytes"]
        assert linalg.solve(watched, x).tobytes() == linalg.solve(x, x).tobytes()
