"""Cross entropy in parts: PyTorch's numbers, fewer bytes."""

import functools

import asks_for_torch  # noqa: F401
import pytest
import torch
from torch import nn
from torch.nn import functional

import memprop as mp
import memprop.torch as mpt

OPTIONS = (
    {},
    {"reduction": "sum"},
    {"ignore_index": 3},
    {"label_smoothing": 0.1},
    {"weight": torch.arange(1.0, 51.0)},
    {"weight": torch.arange(1.0, 51.0), "label_smoothing": 0.2, "ignore_index": 3},
)


def differentiated(loss, logits, target, **options):
    value = loss(logits, target, **options)
    return (value.detach(), *torch.autograd.grad(value, logits))


@pytest.mark.parametrize("shape", [(37, 50), (16, 50, 4), (3, 50)])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options) or "plain")
def test_it_is_cross_entropy(shape, options):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(shape, generator=generator, requires_grad=True)
    classes = torch.randint(50, (shape[0], *shape[2:]), generator=generator)
    classes[::5] = options.get("ignore_index", -100)
    shares = torch.rand(shape, generator=generator).softmax(1)
    for target in (classes, shares):
        if target is shares and "ignore_index" in options:
            continue
        expected = differentiated(functional.cross_entropy, logits, target, **options)
        for chunks in (1, 5, 100):
            found = differentiated(
                mpt.chunked_cross_entropy, logits, target, chunks=chunks, **options
            )
            for one, other in zip(found, expected, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_gradients_of_classes_are_the_same_bits(dtype):
    torch.manual_seed(0)
    logits = torch.randn(64, 1000).to(dtype).requires_grad_()
    classes = torch.randint(1000, (64,))
    expected = differentiated(functional.cross_entropy, logits, classes)
    found = differentiated(mpt.chunked_cross_entropy, logits, classes)
    assert torch.equal(found[1], expected[1])
    assert found[0].dtype == expected[0].dtype


def test_it_is_differentiated_as_finite_differences_say():
    logits = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    classes = torch.tensor([0, 4, -100, 2, 2, 1])
    assert torch.autograd.gradcheck(
        lambda one: mpt.chunked_cross_entropy(one, classes, chunks=4), (logits,)
    )
    with pytest.raises(mp.MempropError, match="no second derivatives"):
        torch.autograd.grad(mpt.chunked_cross_entropy(logits, classes), logits, create_graph=True)


class Language(nn.Module):
    def __init__(self, classes=4096, width=32):
        super().__init__()
        self.words = nn.Embedding(classes, width)
        self.head = nn.Linear(width, classes)

    def forward(self, tokens):
        return self.head(self.words(tokens)).flatten(0, -2)


def language(batch=8):
    tokens = torch.randint(4096, (batch, 64), generator=torch.Generator().manual_seed(0))
    return Language(), tokens, tokens.flatten()


@pytest.mark.parametrize("autocast", [None, torch.bfloat16])
def test_a_step_keeps_the_logits_alone(autocast):
    module, tokens, target = language()
    logits = 8 * 64 * 4096 * (4 if autocast is None else 2)

    def step(run, loss):
        return run(module, tokens, loss=loss, target=target, autocast=autocast)

    plain = step(mpt.simulate, functional.cross_entropy)
    parts = step(mpt.simulate, mpt.chunked_cross_entropy)
    traced = step(mpt.trace, mpt.chunked_cross_entropy)
    assert traced.peak == parts.peak
    # The logarithms of all probabilities are not there, in 32 bits; the logits are.
    assert plain.saved_bytes - parts.saved_bytes >= 8 * 64 * 4096 * 4 - logits
    # Backward: logits, their gradients, and of an eighth the logarithms and two gradients.
    own = module.words.weight.nbytes + module.head.weight.nbytes
    assert parts.peak < 2 * own + 2 * logits + (3 * 8 * 64 * 4096 * 4 + 3 * logits) / 8
    assert parts.peak < 0.75 * plain.peak


def test_under_autocast_it_computes_in_32_bits():
    torch.manual_seed(0)
    logits = torch.randn(64, 1000).to(torch.bfloat16).requires_grad_()
    classes = torch.randint(1000, (64,))
    with torch.autocast("cpu", torch.bfloat16):
        expected = differentiated(functional.cross_entropy, logits, classes)
        found = differentiated(mpt.chunked_cross_entropy, logits, classes)
    assert found[0].dtype == torch.float32
    torch.testing.assert_close(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


def test_a_weight_of_16_bits_is_cast_by_autocast_too():
    torch.manual_seed(0)
    logits = torch.randn(64, 50).to(torch.bfloat16).requires_grad_()
    classes, weight = torch.randint(50, (64,)), torch.rand(50).to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        plain = functional.cross_entropy(logits, classes, weight)
        parts = mpt.chunked_cross_entropy(logits, classes, weight)
    torch.testing.assert_close(parts, plain)
    (expected,) = torch.autograd.grad(plain, logits)
    (found,) = torch.autograd.grad(parts, logits)
    torch.testing.assert_close(found, expected)


def test_sums_of_numbers_of_16_bits_do_not_overflow():
    logits = torch.zeros(40_000, 2, dtype=torch.float16)
    logits[:, 1] = 35
    classes = torch.zeros(40_000, dtype=torch.long)
    assert float(mpt.chunked_cross_entropy(logits, classes)) == 35


def test_what_it_does_not_differentiate_is_refused():
    logits, teacher = torch.randn(4, 5), torch.randn(4, 5, requires_grad=True)
    with pytest.raises(mp.MempropError, match="differentiates its logits alone"):
        mpt.chunked_cross_entropy(logits, teacher.softmax(1))
    with torch.no_grad():
        mpt.chunked_cross_entropy(logits, teacher.softmax(1))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"chunks": 0}, "chunks must be a positive integer, got 0"),
        ({"reduction": "none"}, "unknown reduction 'none'"),
        ({"target": torch.zeros(3, dtype=torch.long)}, r"\(4, 5\) and \(3,\)"),
        ({"input": torch.zeros(5)}, r"shape \(N, C\)"),
        ({"input": 3}, "must be tensors"),
        ({"target": torch.tensor(0)}, r"\(4, 5\) and \(\)"),
    ],
)
def test_what_makes_no_sense_is_refused(change, says):
    given = {"input": torch.zeros(4, 5), "target": torch.zeros(4, dtype=torch.long), **change}
    with pytest.raises(mp.MempropError, match=says):
        mpt.chunked_cross_entropy(**given)


class OwnLoss(Language):
    """Computes its loss itself, as language models of Hugging Face do."""

    def forward(self, tokens):
        return {"loss": nn.functional.cross_entropy(super().forward(tokens), tokens.flatten())}


PLAIN = functional.cross_entropy
LOSSES = {
    "own": {},
    "function": {"loss": PLAIN},
    "module": {"loss": nn.CrossEntropyLoss()},
    "partial": {"loss": functools.partial(PLAIN, label_smoothing=0.0)},
}


@pytest.mark.parametrize("which", LOSSES)
def test_fit_offers_it_where_the_loss_is_the_peak(which):
    def make(batch):
        module, tokens, target = language(batch)
        return (OwnLoss(), tokens) if which == "own" else (module, tokens, target)

    loss = LOSSES[which]
    found = mpt.fit(make, "24 MiB", batch=8, device="cpu", **loss)
    (way,) = (one for one in found.ways if "cross entropy" in one.name)
    assert way.fits
    module, tokens, target = language()
    step = mpt.simulate(module, tokens, loss=mpt.chunked_cross_entropy, target=target, warmup=1)
    assert way.tried.peak == pytest.approx(step.peak, rel=0.01)
    assert functional.cross_entropy is PLAIN


def mean_of_logarithms(logits):
    return logits.log_softmax(-1).mean()


def test_fit_does_not_offer_it_where_the_loss_is_another_one():
    def make(batch):
        module, tokens, _ = language(batch)
        return module, tokens

    found = mpt.fit(make, "4 MiB", batch=8, device="cpu", loss=mean_of_logarithms)
    assert not any("cross entropy" in one.name for one in found.ways)
