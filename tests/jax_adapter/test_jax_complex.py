"""Complex parameters: a real loss, and gradients as large as they are."""

import pytest
from jax_cases import shaped
from jax_oracles import brute_force_live, flat_jaxpr, live_during, size

from memprop.errors import InvalidValueError
from memprop.terms import CATEGORIES

EACH = {"complex64": 8, "complex128": 16}


def loss_of(jax):
    def loss(w, x):
        return (abs(x @ w) ** 2).sum()

    return loss


@pytest.mark.parametrize("dtype", EACH)
def test_gradients_are_complex_and_as_large(dtype, jax, mpj):
    with jax.enable_x64(dtype == "complex128"):
        given = shaped(jax, 6, 5, dtype=dtype), shaped(jax, 4, 6, dtype=dtype)
        trace = mpj.simulate(loss_of(jax), *given, compile=False)
    end = dict(zip(CATEGORIES, trace.live.by_category[-1].tolist(), strict=True))
    assert end["parameter"] == end["parameter_gradient"] == 6 * 5 * EACH[dtype]
    assert end["input"] == 4 * 6 * EACH[dtype]
    assert end["activation"] == EACH[dtype] // 2  # the loss is real
    gradients = [v for v in trace.variables if v.category == "parameter_gradient"]
    assert [(v.shape, v.dtype) for v in gradients] == [((6, 5), dtype)]


def test_live_bytes_are_those_of_brute_force(jax, mpj):
    given = shaped(jax, 6, 5, dtype="complex64"), shaped(jax, 4, 6, dtype="complex64")
    jaxpr = flat_jaxpr(jax, jax.value_and_grad(loss_of(jax)), given)
    trace = mpj.simulate(loss_of(jax), *given, compile=False)
    assert live_during(trace) == brute_force_live(jaxpr)


def test_the_product_is_kept_and_the_parameter(jax, mpj):
    """abs(z)^2 needs z / abs(z), complex, and abs(z), real; the product needs x and w."""
    given = shaped(jax, 6, 5, dtype="complex64"), shaped(jax, 4, 6, dtype="complex64")
    kept = mpj.simulate(loss_of(jax), *given, compile=False).intermediates()
    made = kept[kept["variable"] != "x"]
    assert sorted(made["bytes"]) == [4 * 5 * 4, 4 * 5 * 8]


def test_real_and_complex_stand_side_by_side(jax, mpj):
    def loss(p, x):
        return (abs(x @ p["w"] + p["b"]) ** 2).mean()

    params = {"w": shaped(jax, 6, 5, dtype="complex64"), "b": shaped(jax, 5)}
    trace = mpj.simulate(loss, params, shaped(jax, 4, 6), compile=False)
    found = {v.name: v.dtype for v in trace.variables if v.category == "parameter_gradient"}
    assert found == {"gradient of p['w']": "complex64", "gradient of p['b']": "float32"}


def test_adam_keeps_two_complex_numbers_of_a_complex_parameter(jax, mpj, optax):
    w = shaped(jax, 6, 5, dtype="complex64")
    optimizer = optax.adam(1e-3)
    trace = mpj.simulate(loss_of(jax), w, shaped(jax, 4, 6), optimizer=optimizer, compile=False)
    assert trace.persistent_bytes == 3 * size(w) + 4


def test_the_compiler_counts_the_same_parameters(jax, mpj):
    w = shaped(jax, 6, 5, dtype="complex64")
    found = mpj.compiled_memory(loss_of(jax), w, shaped(jax, 4, 6, dtype="complex64"))
    assert found["argument_bytes"] == 6 * 5 * 8 + 4 * 6 * 8


def test_a_complex_loss_is_refused(jax, mpj):
    with pytest.raises(InvalidValueError, match="real floating scalar, got complex64"):
        mpj.simulate(lambda w: (w * w).sum(), shaped(jax, 3, dtype="complex64"))
