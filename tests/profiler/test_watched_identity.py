"""Watched arrays compute what plain ones do: to the bit, with the same type, strides and errors."""

import copy
import io
import pickle
import warnings

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided, sliding_window_view

import memprop as mp
from memprop.profiler.watched import WatchedArray


def in_place(function):
    """``function`` changes its first operand, which counts as its result too."""

    def run(a, b):
        returned = function(a, b)
        return returned, a

    return run


def assign(index):
    def run(a, b):
        a[index] = b

    return in_place(run)


def augmented(a, b):
    a += b
    a *= 2
    a -= b
    return a


def masked_out(a, b):
    return np.add(a, b, out=np.zeros(np.broadcast_shapes(a.shape, b.shape)), where=a > b)


OPERATIONS = [
    lambda a, b: a + b,
    lambda a, b: a - b,
    lambda a, b: a * b,
    lambda a, b: a / b,
    lambda a, b: a // b,
    lambda a, b: a % b,
    lambda a, b: divmod(a, b),
    lambda a, b: -a,
    lambda a, b: a**2,
    lambda a, b: a**0.5,
    lambda a, b: a**-1.0,
    lambda a, b: a**3,
    lambda a, b: 2**a,
    lambda a, b: a**b,
    lambda a, b: 1.5 * a,
    lambda a, b: 1 / a,
    lambda a, b: a < b,
    lambda a, b: a == b,
    lambda a, b: ~(a > 0),
    lambda a, b: abs(a),
    lambda a, b: a @ b,
    lambda a, b: a @ b.T,
    lambda a, b: np.matmul(a.T, b),
    np.dot,
    np.inner,
    np.outer,
    np.vdot,
    np.kron,
    lambda a, b: a.dot(b),
    np.cross,
    lambda a, b: np.einsum("...i,...i->...", a, b),
    lambda a, b: np.einsum("ij,kj->ik", a, b),
    lambda a, b: np.tensordot(a, b, axes=([-1], [-1])),
    lambda a, b: np.exp(a),
    lambda a, b: np.tanh(a),
    np.maximum,
    np.hypot,
    np.logaddexp,
    lambda a, b: np.modf(a),
    lambda a, b: np.frexp(a),
    lambda a, b: np.sign(a),
    lambda a, b: a.sum(),
    lambda a, b: a.sum(axis=0),
    lambda a, b: a.sum(-1, keepdims=True),
    lambda a, b: np.sum(a, dtype="float64"),
    lambda a, b: a.mean(),
    lambda a, b: a.mean(0),
    lambda a, b: a.var(axis=-1),
    lambda a, b: np.std(a, ddof=1),
    lambda a, b: a.max(-1),
    lambda a, b: np.min(a),
    lambda a, b: a.argmax(-1),
    lambda a, b: np.argsort(a, axis=-1),
    lambda a, b: np.median(a, axis=0),
    lambda a, b: np.quantile(a, 0.3),
    lambda a, b: a.any(),
    lambda a, b: np.all(a, axis=0),
    lambda a, b: np.count_nonzero(a),
    lambda a, b: np.linalg.norm(a),
    lambda a, b: np.linalg.norm(a, axis=-1),
    lambda a, b: np.linalg.svd(a),
    lambda a, b: np.linalg.pinv(a),
    lambda a, b: np.trace(a),
    lambda a, b: np.add.reduce(a),
    lambda a, b: np.add.accumulate(a, axis=-1),
    lambda a, b: np.multiply.outer(a, b),
    lambda a, b: np.add.reduceat(a, [0, 1], axis=-1),
    lambda a, b: a[0],
    lambda a, b: a[..., 0],
    lambda a, b: a[::-1],
    lambda a, b: a[a > 0],
    lambda a, b: a[[0, 1]],
    lambda a, b: a[None],
    lambda a, b: a[..., ::2],
    lambda a, b: a[()],
    lambda a, b: a.T,
    lambda a, b: a.mT,
    lambda a, b: a.real,
    lambda a, b: a.imag,
    lambda a, b: a.reshape(-1),
    lambda a, b: a.ravel(order="F"),
    lambda a, b: a.flatten(),
    lambda a, b: a.T.reshape(-1),
    lambda a, b: a.transpose(),
    lambda a, b: np.swapaxes(a, 0, -1),
    lambda a, b: np.expand_dims(a, 0),
    lambda a, b: np.squeeze(a),
    lambda a, b: a.copy("F"),
    lambda a, b: np.broadcast_to(a, (2, *a.shape)),
    lambda a, b: np.broadcast_arrays(a, b),
    lambda a, b: np.atleast_1d(a),
    lambda a, b: np.atleast_2d(a, b),
    lambda a, b: np.flip(a),
    lambda a, b: np.concatenate([a, b]),
    lambda a, b: np.stack((a, a)),
    lambda a, b: np.tile(a, 2),
    lambda a, b: np.hstack([a, b]),
    lambda a, b: np.block([[a], [b]]),
    lambda a, b: np.roll(a, 1),
    lambda a, b: np.split(a, 2, axis=-1),
    lambda a, b: np.array_split(a, 2),
    lambda a, b: np.repeat(a, 2),
    lambda a, b: np.append(a, b),
    lambda a, b: np.pad(a, 1),
    lambda a, b: np.where(a > b, a, b),
    lambda a, b: np.where(a),
    lambda a, b: a.nonzero(),
    lambda a, b: np.clip(a, -1, 1),
    lambda a, b: a.clip(0),
    lambda a, b: np.round(a, 1),
    lambda a, b: np.unique(a, return_counts=True),
    lambda a, b: np.sort(a, axis=-1),
    lambda a, b: np.cumsum(a),
    lambda a, b: np.diff(a),
    lambda a, b: np.meshgrid(a, b),
    lambda a, b: np.histogram(a, bins=3),
    lambda a, b: np.bincount(np.abs(a.astype(int)).ravel()),
    lambda a, b: np.take(a, [0, 0], axis=-1),
    lambda a, b: np.take_along_axis(a, a.argsort(-1), -1),
    lambda a, b: a.astype("float16"),
    lambda a, b: a.astype(a.dtype, copy=False),
    lambda a, b: a.view("uint8"),
    lambda a, b: a.byteswap(),
    lambda a, b: a.conj(),
    lambda a, b: np.zeros_like(a),
    lambda a, b: np.full_like(a, 3),
    lambda a, b: np.shape(a),
    lambda a, b: a.tolist(),
    lambda a, b: a.tobytes(),
    lambda a, b: np.array_equal(a, b),
    lambda a, b: np.allclose(a, b),
    lambda a, b: np.isnan(a),
    lambda a, b: np.nan_to_num(a),
    lambda a, b: np.apply_along_axis(np.sum, -1, a),
    lambda a, b: np.interp(a, [0, 1], [2, 3]),
    lambda a, b: list(a),
    lambda a, b: len(a),
    lambda a, b: 0 in a,
    lambda a, b: [*map(float, a)],
    lambda a, b: sliding_window_view(a, 2, axis=-1),
    lambda a, b: np.triu(a),
    lambda a, b: repr(a),
    lambda a, b: str(a),
    lambda a, b: np.ptp(a),
    lambda a, b: np.average(a, axis=0, weights=a[:, 0]),
    augmented,
    masked_out,
    assign(...),
    assign(0),
    assign((slice(None), 0)),
    assign([0, 1]),
    in_place(lambda a, b: np.add(a, b, out=a)),
    in_place(lambda a, b: np.multiply(a, b, a)),
    in_place(lambda a, b: np.clip(a, 0, 1, a)),
    in_place(lambda a, b: np.sum(a, 0, None, a[0])),
    in_place(lambda a, b: np.add.at(a, [0, 0], b[0])),
    in_place(lambda a, b: np.copyto(a, b)),
    in_place(lambda a, b: np.fill_diagonal(a, 7)),
    in_place(lambda a, b: a.fill(3)),
    in_place(lambda a, b: a.sort()),
    in_place(lambda a, b: np.put(a, [0], 9)),
    in_place(lambda a, b: setattr(a, "real", 2)),
    in_place(lambda a, b: a[:1].__iadd__(1)),
    in_place(lambda a, b: a.__imatmul__(b)),
    in_place(lambda a, b: np.random.default_rng(0).shuffle(a)),
    lambda a, b: np.random.default_rng(0).permutation(a),
    lambda a, b: np.random.default_rng(0).choice(a, 2),
]
SHAPES = [(3, 4), (4, 4), (4,), (1,), (), (0, 3), (2, 3, 4)]
DTYPES = ["float64", "float32", "int64", "int8", "bool", "complex64"]
LAYOUTS = [lambda a: a, lambda a: a.T, lambda a: np.repeat(a, 2, -1)[..., ::2] if a.ndim else a]


def make(seed, shape, dtype, layout):
    values = np.random.default_rng(seed).normal(size=shape) * 3
    if dtype == "complex64":
        values = values + 1j * values[::-1] if shape else values + 2j
    return LAYOUTS[layout](np.asarray(values).astype(dtype))


def outcome(function, a, b):
    try:
        return function(a, b)
    except Exception as error:
        return type(error)


def assert_same(plain, watched):
    if isinstance(plain, np.ndarray):
        assert type(watched) in (np.ndarray, WatchedArray)
        assert (plain.dtype, plain.shape, plain.strides) == (
            watched.dtype,
            watched.shape,
            watched.strides,
        )
        assert plain.flags.c_contiguous == watched.flags.c_contiguous
        assert plain.flags.writeable == watched.flags.writeable
        assert plain.tobytes() == np.asarray(watched).tobytes()
        assert type(np.asarray(watched)) is np.ndarray
    elif isinstance(plain, (tuple, list)):
        assert type(plain) is type(watched)
        assert len(plain) == len(watched)
        for one, other in zip(plain, watched, strict=True):
            assert_same(one, other)
    else:
        assert type(plain) is type(watched)
        np.testing.assert_equal(watched, plain)


operand = st.tuples(
    st.integers(0, 9), st.sampled_from(SHAPES), st.sampled_from(DTYPES), st.integers(0, 2)
)


@settings(max_examples=25, deadline=None)
@given(first=operand, second=operand, which=st.sampled_from(["both", "first", "second"]))
def test_every_operation_gives_the_same_bits_type_and_strides(first, second, which):
    # NumPy asks a watched array for its float() when it is assigned to one element of a plain one,
    # and refuses a complex one, instead of warning.
    assume(not (which == "second" and second[1:3] == ((), "complex64")))
    prof = mp.Profiler()
    for function in OPERATIONS:
        a, b = make(*first), make(*second)
        w, v = make(*first), make(*second)
        w = prof.watch(w, "a") if which != "second" else w
        v = prof.watch(v, "b") if which != "first" else v
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            assert_same(outcome(function, a, b), outcome(function, w, v))
    assert len(prof.trace.events)


@pytest.fixture
def prof():
    with mp.Profiler() as profiler:
        yield profiler


@pytest.fixture
def x():
    return np.arange(12.0).reshape(3, 4)


def test_a_watched_array_is_the_same_memory(prof, x):
    watched = prof.watch(x, "x")
    assert np.shares_memory(x, watched)
    watched[0, 0] = 7
    assert x[0, 0] == 7


def test_asarray_and_array_give_plain_arrays(prof, x):
    watched = prof.watch(x, "x") * 2
    for plain in (np.asarray(watched), np.array(watched), np.ascontiguousarray(watched)):
        assert type(plain) is np.ndarray


def test_out_is_returned_as_it_was_given(prof, x):
    watched, plain = prof.watch(x, "x"), np.empty_like(x)
    assert np.multiply(watched, 2, out=plain) is plain
    assert np.multiply(plain, 2, out=watched) is watched
    assert np.matmul(watched, watched.T, out=(square := np.empty((3, 3)))) is square
    plain += watched
    assert type(plain) is np.ndarray


def test_copies_are_watched_and_pickles_are_plain(prof, x):
    watched = prof.watch(x, "x")
    assert isinstance(copy.deepcopy({"x": watched})["x"], WatchedArray)
    assert isinstance(copy.copy(watched), WatchedArray)
    back = pickle.loads(pickle.dumps(watched))  # noqa: S301 - written a moment ago
    assert type(back) is np.ndarray
    assert back.tobytes() == x.tobytes()


def test_saving_and_loading_gives_the_array_back(prof, x):
    file = io.BytesIO()
    np.save(file, prof.watch(x, "x"))
    file.seek(0)
    np.testing.assert_array_equal(np.load(file), x)


def test_views_of_views_build_no_chain_of_bases(prof, x):
    view = prof.watch(x, "x")
    for _ in range(50):
        view = view.T.reshape(view.shape[::-1])[:]
    links = 0
    while view.base is not None:
        view, links = view.base, links + 1
    assert links <= 3


def test_named_tuples_keep_their_type(prof, x):
    found = np.linalg.svd(prof.watch(x, "x"))
    assert type(found) is type(np.linalg.svd(x))
    assert isinstance(found.S, WatchedArray)


def test_strided_windows_of_a_watched_array_are_known_as_its_memory(prof, x):
    watched = prof.watch(x, "x")
    with prof.phase("forward"):
        windows = as_strided(watched, (2, 2), watched.strides)  # NumPy makes a plain array of it
        windows @ watched[:2]
    assert [v.name for v in prof.trace.variables] == ["x", "matmul"]
