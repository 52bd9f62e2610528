"""Layers compose: what a sequence of them builds, and that PyTorch computes the same."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import memprop as mp
from memprop.errors import GraphError, InvalidTypeError, InvalidValueError
from memprop.schedules.check import check

SCHEDULES = (
    *("textbook", "lean", "selective", "sqrt", "every:1", "every:2", "revolve:1", "revolve:2"),
    *("microbatch:2", "selective+microbatch:3"),
    *("offload:scratch", "offload:scratch+microbatch:2"),
)


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    """Where what is stored on disk goes."""
    monkeypatch.chdir(tmp_path)


def cnn(**options):
    return mp.Sequential(
        [
            mp.Conv2d(4, 3, padding=1),
            mp.ReLU(),
            mp.MaxPool2d(2),
            mp.Conv2d(6, 3, stride=2, padding=1, bias=False),
            mp.Tanh(),
            mp.Flatten(),
            mp.Linear(10),
        ],
        inputs=(1, 8, 8),
        **options,
    )


def transformer(p=0.0, **options):
    return mp.Sequential(
        [
            mp.Linear(16),
            mp.Residual([mp.LayerNorm(), mp.SelfAttention(4)]),
            mp.Residual([mp.LayerNorm(), mp.Linear(32), mp.GELU(), mp.Dropout(p), mp.Linear(16)]),
            mp.Flatten(),
            mp.Linear(10),
        ],
        inputs=(8, 8),
        **options,
    )


def tokens(**options):
    return mp.Sequential(
        [mp.Embedding(17, 8), mp.Residual([mp.SelfAttention(2)]), mp.Flatten(), mp.Linear(10)],
        inputs=(64,),
        **options,
    )


MODELS = {
    "cnn": cnn,
    "transformer": transformer,
    "transformer, dropout": lambda **options: transformer(0.1, **options),
    "tokens": tokens,
}


def digits(model, batch=6, seed=0):
    """Digits as ``model`` takes them, and their labels."""
    data = mp.load_digits()
    x, y = data.batch(batch, seed)
    x = x.reshape(-1, *model.inputs)
    if model.layers[0].input_dtype == "int64":
        return np.rint(x * 16 / x.max()).astype(np.int64), y
    return x.astype(model.dtype), y


@pytest.mark.parametrize("name", MODELS)
def test_every_schedule_is_predicted_to_the_byte_and_gives_the_gradients_of_lean(name):
    model = MODELS[name]()
    x, y = digits(model)
    lean = mp.trace(model, x, y).outputs["gradients"]
    largest = max(np.abs(gradient).max() for gradient in lean.values())
    smallest = int(mp.frontier(model, len(x))["peak_bytes"].min())
    budget = (smallest + mp.simulate(model, len(x)).peak) // 2
    for schedule in (*SCHEDULES, f"budget:{budget}"):
        for allocator in ("heap", "arena"):
            step = mp.Step(model, len(x), schedule, allocator=allocator)
            check(step.schedule)
            step(x, y)
            predicted = mp.simulate(model, len(x), schedule=schedule)
            assert step.trace == predicted
            assert step.trace.peak == predicted.peak == step.schedule.peak
            exact = "microbatch" not in schedule and schedule != "textbook"
            for parameter, gradient in lean.items():
                found = step.gradients[parameter]
                if exact:
                    np.testing.assert_array_equal(found, gradient)
                else:
                    np.testing.assert_allclose(found, gradient, rtol=1e-4, atol=1e-5 * largest)


@pytest.mark.parametrize("name", MODELS)
def test_inference_is_predicted_too(name):
    model = MODELS[name]()
    x, _ = digits(model)
    trace = mp.trace(model, x, mode="inference")
    assert trace == mp.simulate(model, len(x), mode="inference")
    assert trace.outputs["prediction"].shape == (len(x), 10)
    batches = np.arange(1, 9)
    peaks = mp.peak_bytes(model, batches, mode="inference")
    assert peaks.tolist() == [mp.simulate(model, b, mode="inference").peak for b in batches]


@pytest.mark.parametrize("name", MODELS)
def test_it_learns(name):
    model = MODELS[name]()
    x, y = digits(model, 256)
    history = model.fit(x, y, epochs=12, batch=64, optimizer=mp.Adam(1e-2), progress=False)
    assert history["loss"].iloc[-1] < 0.5 * history["loss"].iloc[0]
    assert model.score(x, y) > 0.6
    assert model.predict(x).shape == (256,)


# Against PyTorch


def attention_of(torch, layer, x, p, n):
    functional = torch.nn.functional

    def linear(x, letter):
        return functional.linear(x, p[f"W{letter}{n}"], p.get(f"b{letter}{n}"))

    def heads(x):
        return x.reshape(*x.shape[:2], layer.heads, -1).transpose(1, 2)

    q, k, v = (heads(linear(x, letter)) for letter in "qkv")
    mixed = functional.scaled_dot_product_attention(q, k, v)
    return linear(mixed.transpose(1, 2).reshape(x.shape), "z")


def torch_layers(torch):
    """What PyTorch computes for a layer, from it, its input, the parameters and its number."""
    functional = torch.nn.functional
    return {
        "Linear": lambda layer, x, p, n: functional.linear(x, p[f"W{n}"], p.get(f"b{n}")),
        "Conv2d": lambda layer, x, p, n: functional.conv2d(
            x, p[f"W{n}"], p.get(f"b{n}"), stride=layer.stride, padding=layer.padding
        ),
        "MaxPool2d": lambda layer, x, p, n: functional.max_pool2d(x, layer.window),
        "Embedding": lambda layer, x, p, n: functional.embedding(x, p[f"W{n}"]),
        "SelfAttention": lambda *given: attention_of(torch, *given),
        "LayerNorm": lambda layer, x, p, n: functional.layer_norm(
            x, x.shape[-1:], p[f"gamma{n}"], p[f"beta{n}"]
        ),
        "Flatten": lambda layer, x, p, n: x.flatten(1),
        "Dropout": lambda layer, x, p, n: functional.dropout(x, layer.p),
    }


def torch_of(torch, model):
    """The same layers in PyTorch, as a function of the samples and the parameters."""
    known = torch_layers(torch)

    def run(layers, x, p, count):
        for layer in layers:
            count[0] += layer.begins_layer
            if isinstance(layer, mp.Residual):
                x = run(layer.layers, x, p, count) + x
            elif isinstance(layer, mp.Activation):
                x = getattr(torch.nn.functional, layer.rule)(x)
            else:
                x = known[type(layer).__name__](layer, x, p, count[0])
        return x

    return lambda x, p: run(model.layers, x, p, [0])


def assert_like_pytorch(torch, model, x, y, schedule="lean"):
    out = mp.trace(model, x, y, schedule=schedule).outputs
    theirs = {n: torch.tensor(a, requires_grad=True) for n, a in model.parameters.items()}
    o = torch_of(torch, model)(torch.from_numpy(x), theirs)
    loss = torch.nn.functional.cross_entropy(o, torch.from_numpy(y))
    loss.backward()
    assert out["loss"] == pytest.approx(loss.item(), rel=1e-10)
    for name, variable in theirs.items():
        np.testing.assert_allclose(
            out["gradients"][name], variable.grad.numpy(), rtol=1e-9, atol=1e-12, err_msg=name
        )


@pytest.mark.parametrize("schedule", ["textbook", "lean", "every:1"])
@pytest.mark.parametrize("name", ["cnn", "transformer", "tokens"])
def test_gradients_are_those_of_pytorch(torch, name, schedule):
    model = MODELS[name](dtype="float64")
    generator = np.random.default_rng(3)
    for array in model.parameters.values():  # biases that are not zero, gains that are not one
        array += generator.standard_normal(array.shape) * 0.2
    assert_like_pytorch(torch, model, *digits(model), schedule)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    channels=st.integers(1, 3),
    outputs=st.integers(1, 4),
    height=st.integers(3, 9),
    width=st.integers(3, 9),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    bias=st.booleans(),
    window=st.integers(1, 3),
    batch=st.integers(1, 4),
    schedule=st.sampled_from(["textbook", "lean"]),
)
def test_convolution_and_pooling_are_those_of_pytorch(
    torch, channels, outputs, height, width, kernel, stride, padding, bias, window, batch, schedule
):
    conv = mp.Conv2d(outputs, kernel, stride=stride, padding=padding, bias=bias)
    places = [(extent + 2 * padding - kernel) // stride + 1 for extent in (height, width)]
    layers = [conv, mp.Tanh(), mp.MaxPool2d(min(window, *places)), mp.Flatten(), mp.Linear(3)]
    model = mp.Sequential(layers, inputs=(channels, height, width), dtype="float64")
    generator = np.random.default_rng(0)
    x = generator.standard_normal((batch, channels, height, width))
    assert_like_pytorch(torch, model, x, generator.integers(0, 3, batch), schedule)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    heads=st.integers(1, 3),
    share=st.integers(1, 4),
    positions=st.integers(1, 5),
    batch=st.integers(1, 4),
    bias=st.booleans(),
    schedule=st.sampled_from(["textbook", "lean", "every:1"]),
)
def test_attention_is_that_of_pytorch(torch, heads, share, positions, batch, bias, schedule):
    layers = [mp.Linear(heads * share), mp.SelfAttention(heads, bias=bias), mp.Flatten()]
    model = mp.Sequential([*layers, mp.Linear(3)], inputs=(positions, 4), dtype="float64")
    generator = np.random.default_rng(0)
    x = generator.standard_normal((batch, positions, 4))
    assert_like_pytorch(torch, model, x, generator.integers(0, 3, batch), schedule)


def test_a_maximum_that_is_there_twice_passes_its_gradient_on_once(torch):
    model = mp.Sequential(
        [mp.Conv2d(1, 1, bias=False), mp.MaxPool2d(2), mp.Flatten(), mp.Linear(2)],
        inputs=(1, 4, 4),
        dtype="float64",
    )
    x = np.ones((2, 1, 4, 4))
    for schedule in ("textbook", "lean"):
        assert_like_pytorch(torch, model, x, np.array([0, 1]), schedule)


# What is built


def test_an_mlp_is_a_sequence_of_layers():
    layers = mp.MLP([64, 32, 32, 10], norm="layer", dropout=0.1, residual=True).layers
    inside = (mp.LayerNorm(), mp.ReLU(), mp.Dropout(0.1))
    assert layers == (
        *(mp.Linear(32), *inside),
        mp.Residual([mp.Linear(32), *inside]),
        mp.Linear(10),
    )
    assert isinstance(mp.MLP([2, 2]), mp.Sequential)


@pytest.mark.parametrize("mode", ["train", "inference"])
@pytest.mark.parametrize("options", [{}, {"norm": "layer", "dropout": 0.3, "residual": True}])
def test_the_same_layers_written_out_have_the_same_graph_and_parameters(options, mode):
    mlp = mp.MLP([5, 7, 7, 3], l2=0.1, seed=4, **options)
    written = mp.Sequential(mlp.layers, inputs=5, l2=0.1, seed=4)
    assert written.graph(mode) == mlp.graph(mode)
    for name, array in mlp.parameters.items():
        np.testing.assert_array_equal(written.parameters[name], array)


def test_variables_are_named_as_the_section_names_them():
    names = [v.name for v in cnn().graph().variables if v.category == "activation"]
    assert names == ["z1", "a1", "h1", "z2", "a2", "h2", "o", "L"]
    names = [v.name for v in transformer().graph().variables if v.category == "activation"]
    attention, feed_forward = "q2 k2 v2 S2 P2 c2 z2 r2", "z3 a3 z4 r4"
    assert " ".join(names) == f"z1 h1 {attention} h2 {feed_forward.replace('a3', 'h3')} h4 o L"


def test_two_of_a_kind_in_one_layer_have_names_of_their_own():
    model = mp.Sequential(
        [mp.Linear(4), mp.LayerNorm(), mp.ReLU(), mp.LayerNorm(), mp.Tanh(), mp.Linear(2)],
        inputs=3,
    )
    assert {"gamma1", "gamma1b", "beta1", "beta1b"} <= set(model.parameters)
    x = np.ones((2, 3), dtype="float32")
    assert mp.trace(model, x, [0, 1]) == mp.simulate(model, 2)


def test_two_dropouts_in_one_layer_drop_different_units():
    model = mp.Sequential(
        [mp.Linear(256), mp.Dropout(0.5), mp.Identity(), mp.Dropout(0.5), mp.Linear(2)], inputs=3
    )
    streams = [
        dict(op.attributes)["stream"] for op in model.graph().operators if op.rule == "dropout"
    ]
    assert len(set(streams)) == 2


def test_gains_are_those_of_the_activation_that_follows():
    model = mp.Sequential(
        [mp.Linear(900), mp.Tanh(), mp.Linear(900), mp.ReLU(), mp.Linear(900)], inputs=900, seed=1
    )
    gains = [model.parameters[f"W{n}"].var() * 900 for n in (1, 2, 3)]
    assert gains == pytest.approx([1, 2, 2], rel=0.02)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: mp.Sequential([], inputs=3), InvalidValueError, "at least one layer"),
        (lambda: mp.Sequential(mp.Linear(2), inputs=3), InvalidTypeError, "list of layers"),
        (lambda: mp.Sequential([mp.ReLU], inputs=3), InvalidTypeError, r"write ReLU\(\)"),
        (lambda: mp.Sequential([256], inputs=3), InvalidTypeError, r"layers\[0\] must be a layer"),
        (lambda: mp.Sequential([mp.Linear(2)], inputs=()), InvalidValueError, "at least one"),
        (lambda: mp.Sequential([mp.Linear(2)], inputs=(0,)), InvalidValueError, "positive integer"),
        (
            lambda: mp.Sequential([mp.Linear(2)], inputs=3, loss="l1"),
            InvalidValueError,
            "loss 'l1'",
        ),
        (lambda: mp.Linear(0), InvalidValueError, "Linear: outputs must be a positive integer"),
        (lambda: mp.Dropout(1.0), InvalidValueError, "Dropout: p must be at least 0 and below 1"),
        (lambda: mp.Residual([]), InvalidValueError, "at least one layer"),
    ],
)
def test_mistakes_are_told_with_what_was_expected(make, error, words):
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize(
    ("layers", "inputs", "words"),
    [
        ([mp.Residual([mp.Linear(4)])], (3,), "cannot be added"),
        ([mp.Linear(4), mp.Conv2d(2), mp.Flatten()], (3,), "layer 2, .*convolution takes"),
        ([mp.Conv2d(2, 5), mp.Flatten()], (1, 3, 3), "kernel of 5 x 5 does not fit"),
        ([mp.MaxPool2d(4), mp.Flatten()], (1, 3, 3), "window of 4 x 4"),
        ([mp.SelfAttention(3), mp.Flatten()], (4, 8), "multiple of 3"),
        ([mp.Linear(4)], (2, 3), "cross_entropy takes outputs of shape"),
        ([mp.Linear(4), mp.Embedding(3, 2)], (3,), "embedding takes int64"),
    ],
)
def test_layers_that_do_not_fit_are_named(layers, inputs, words):
    with pytest.raises(GraphError, match=words):
        mp.simulate(mp.Sequential(layers, inputs=inputs), 4)


def test_integers_out_of_range_are_found():
    model = tokens()
    x, y = digits(model)
    x[2, 5] = 17
    with pytest.raises(mp.MempropError, match=r"x\[2, 5\] is 17: .* from 0 to 16"):
        mp.trace(model, x, y)
    with pytest.raises(mp.MempropError, match="must hold integers"):
        mp.trace(model, x.astype(float), y)
