"""A simulation goes the way of a real step, where that depends on numbers that are known."""

import asks_for_torch  # noqa: F401
import pytest
import torch
import torch_zoo as zoo
from optional import load_optional
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import memprop.torch as mpt
from memprop.errors import InvalidValueError
from memprop.torch.record.schema import with_lengths_as_numbers


def is_simulated_as_it_runs(build, inputs, **step):
    torch.manual_seed(0)
    simulated = mpt.simulate(build(), inputs, **step)
    torch.manual_seed(0)
    return simulated == mpt.trace(build(), inputs, **step)


@pytest.mark.parametrize(
    "loss",
    [
        nn.MSELoss(),
        nn.MSELoss(reduction="sum"),
        nn.SmoothL1Loss(),
        nn.SoftMarginLoss(),
        nn.BCELoss(),
        nn.HuberLoss(),
        nn.L1Loss(),
    ],
    ids=str,
)
def test_losses_that_keep_a_storage_as_large_as_the_output(loss):
    step = {"loss": loss, "target": torch.ones(50, 7)}
    build = lambda: nn.Sequential(nn.Linear(3, 7), nn.Sigmoid())  # noqa: E731
    assert is_simulated_as_it_runs(build, torch.ones(50, 3), **step)


def test_the_smallest_step_with_a_mean_squared_error():
    step = {"loss": nn.MSELoss(), "target": torch.ones(2, 1)}
    # Weight, bias and their gradients; x, the target, the output, the loss in a buffer of two and
    # the seed; the gradient of the output.
    assert mpt.simulate(nn.Linear(1, 1), torch.ones(2, 1), **step).peak == 60
    assert mpt.trace(nn.Linear(1, 1), torch.ones(2, 1), **step).peak == 60


class Recurrent(nn.Module):
    def __init__(self, kind, **options):
        super().__init__()
        self.cells = kind(8, 12, **options)

    def forward(self, x, lengths=None):
        if lengths is None:
            return self.cells(x)[0]
        packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
        return pad_packed_sequence(self.cells(packed)[0])[0]


@pytest.mark.parametrize("autocast", [None, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("lengths", [None, torch.tensor([9, 2, 5])], ids=["padded", "packed"])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True, "dropout": 0.1}])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers(kind, options, lengths, autocast):
    if kind is nn.LSTM and lengths is None:  # packed ones are made of cells
        zoo.skip_without_lstm_in(autocast)
    inputs = (torch.ones(9, 3, 8),) if lengths is None else (torch.ones(9, 3, 8), lengths)
    build = lambda: Recurrent(kind, **options)  # noqa: E731
    torch.manual_seed(0)
    simulated = mpt.simulate(build(), inputs, autocast=autocast)
    torch.manual_seed(0)
    traced = mpt.trace(build(), inputs, autocast=autocast)
    assert simulated.variables == traced.variables
    assert simulated.peak == traced.peak


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(7, 3, 8, 12), (1, 1, 1, 1), (5, 64, 300, 5), (20, 2, 64, 256)])
def test_the_workspace_of_onednns_lstm_is_that_of_the_library(shape, dtype):
    from memprop.torch.fake.recurrent import workspace_bytes

    steps, batch, inputs, hidden = shape

    def zeros(*shape):
        return torch.zeros(*shape, dtype=dtype)

    weights = zeros(4 * hidden, inputs), zeros(4 * hidden, hidden), *2 * (zeros(4 * hidden),)
    state = zeros(batch, hidden), zeros(batch, hidden)
    rest = (False, [], 2, hidden, 1, True, False, False, True)
    try:
        *_, workspace = torch.ops.aten.mkldnn_rnn_layer(
            zeros(steps, batch, inputs), *weights, *state, *rest
        )
    except RuntimeError as error:
        pytest.skip(f"oneDNN has no such LSTM on this CPU: {error}")
    assert workspace.numel() == workspace_bytes(*shape, dtype.itemsize)


class Masked(nn.Module):
    """Does what programs do with masks and lengths: asks for their numbers."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.register_buffer("window", torch.arange(3))

    def forward(self, x, mask):
        h = self.linear(x)
        if mask.all():
            return h
        kept = h[mask]  # as many rows as the mask has ones
        if (self.window < 2).sum().item() == 2:
            kept = torch.cat([kept, h.masked_select(mask[..., None]).view(-1, 4)])
        lengths = mask.sum(1)
        return kept.relu() * lengths.max().item()


@pytest.mark.parametrize("ones", [torch.ones(2, 3), torch.tensor([[1, 1, 0], [1, 0, 0]])])
def test_masks_are_known(ones):
    assert is_simulated_as_it_runs(Masked, (torch.ones(2, 3, 4), ones.bool()))


class LayerDrop(nn.Module):
    """Leaves out layers at random, as wav2vec2 and OPT do, with numbers of three generators."""

    def __init__(self, *, drop):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(6))
        self.drop = drop

    def forward(self, x):
        for layer in self.layers:
            if torch.rand([]) >= self.drop:
                x = layer(x).tanh()
        return x + self.layers[0](x)


@pytest.mark.parametrize("drop", [0.0, 0.5])
def test_random_numbers_that_decide_are_those_of_the_real_step(drop):
    state = torch.get_rng_state()
    assert is_simulated_as_it_runs(lambda: LayerDrop(drop=drop), torch.ones(2, 4))
    torch.set_rng_state(state)
    mpt.simulate(LayerDrop(drop=drop).eval(), torch.ones(2, 4))
    after = torch.get_rng_state()
    torch.set_rng_state(state)
    LayerDrop(drop=drop)
    assert torch.equal(torch.get_rng_state(), after)


def test_what_depends_on_trained_numbers_is_refused():
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate = nn.Parameter(torch.ones(()))

        def forward(self, x):
            return x * self.gate if self.gate > 0 else x + self.gate

    with pytest.raises(InvalidValueError, match="depends on the numbers"):
        mpt.simulate(Gated(), torch.ones(3))
    assert mpt.trace(Gated(), torch.ones(3)).peak > 0


class Forces(nn.Module):
    """The gradient of an energy, as models of molecules have it."""

    def __init__(self):
        super().__init__()
        self.energy = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, positions):
        positions = positions.detach().requires_grad_()
        energy = self.energy(positions).sum()
        (forces,) = torch.autograd.grad(energy, positions, create_graph=self.training)
        return energy + forces.pow(2).sum()


@pytest.mark.parametrize("mode", ["train", "inference"])
def test_a_model_that_differentiates_in_forward(mode):
    assert is_simulated_as_it_runs(Forces, torch.ones(5, 3), mode=mode)
    if mode == "inference":
        assert mpt.trace(Forces(), torch.ones(5, 3), mode=mode).outputs["prediction"].dim() == 0


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_a_scripted_module():
    def build():
        return torch.jit.script(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)))

    # TorchScript runs a module in another way once it has seen the shapes of a first call.
    assert is_simulated_as_it_runs(build, torch.ones(3, 4), warmup=2)


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, batch):
        return self.linear(batch.x) * batch.scale


def test_a_named_tuple_is_one_argument():
    from collections import namedtuple

    batch = namedtuple("Batch", "x scale")(torch.ones(2, 4), torch.ones(4))
    assert is_simulated_as_it_runs(Pair, batch)
    given = {v.name for v in mpt.simulate(Pair(), batch).variables if v.category == "input"}
    assert len(given) == 2


LANGUAGE_MODELS = {
    "GPT2LMHeadModel": {"n_layer": 2, "n_embd": 32, "n_head": 2},
    "LlamaForCausalLM": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
    "OPTForCausalLM": {
        "hidden_size": 32,
        "ffn_dim": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "word_embed_proj_dim": 32,
        "layerdrop": 0.4,
    },
    "MixtralForCausalLM": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "num_local_experts": 4,
    },
    "BertForMaskedLM": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    },
    "T5ForConditionalGeneration": {
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 64,
        "num_layers": 2,
        "num_heads": 4,
        "decoder_start_token_id": 0,
        "pad_token_id": 0,
    },
}


def language_model(name, *, checkpointed):
    transformers = load_optional("transformers")
    kind = getattr(transformers, name)
    torch.manual_seed(0)
    module = kind(kind.config_class(vocab_size=50, use_cache=False, **LANGUAGE_MODELS[name]))
    if checkpointed:
        name = "activation_checkpointing_enable"  # of transformers 5; before it had another
        getattr(module, name, module.gradient_checkpointing_enable)()
    return module.train()


@pytest.mark.parametrize("padded", [False, True], ids=["full", "padded"])
@pytest.mark.parametrize("checkpointed", [False, True], ids=["plain", "checkpointed"])
@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_language_models_look_at_their_masks(name, checkpointed, padded):
    ids = torch.randint(1, 50, (2, 12))
    mask = torch.ones(2, 12, dtype=torch.int64)
    if padded:
        mask[0, 8:] = 0
    inputs = {"input_ids": ids, "attention_mask": mask, "labels": ids}
    build = lambda: language_model(name, checkpointed=checkpointed)  # noqa: E731
    assert is_simulated_as_it_runs(build, inputs, optimizer=torch.optim.AdamW)


def test_lengths_of_ctc_loss_become_numbers_where_they_are_elsewhere():
    aten = torch.ops.aten
    logs = torch.randn(9, 3, 6).log_softmax(-1)
    target = torch.randint(1, 6, (3, 4))
    sizes = torch.tensor([9, 8, 7]), torch.tensor([4, 3, 2])
    func = aten._ctc_loss.Tensor
    assert with_lengths_as_numbers(func, (logs, target, *sizes)) == (func, (logs, target, *sizes))
    # No GPU is needed to be elsewhere.
    args = (logs.to("meta"), target, *sizes, 0, True)
    func, changed = with_lengths_as_numbers(func, args)
    assert changed[2:] == [[9, 8, 7], [4, 3, 2], 0, True]
    losses, alpha = func(logs, *changed[1:])
    assert torch.equal(losses, aten._ctc_loss.Tensor(logs, *args[1:])[0])
    args = (torch.ones(3), logs.to("meta"), target, *sizes, losses, alpha, 0, True)
    args = (args[0].to("meta"), *args[1:])
    func, changed = with_lengths_as_numbers(aten._ctc_loss_backward.Tensor, args)
    gradient = func(torch.ones(3), logs, *changed[2:])
    expected = torch.func.vjp(lambda p: ctc_loss(p, target, *sizes), logs)[1](torch.ones(3))[0]
    torch.testing.assert_close(gradient, expected)


def ctc_loss(logs, target, inputs, targets):
    return torch.nn.functional.ctc_loss(
        logs, target, inputs, targets, reduction="none", zero_infinity=True
    )
