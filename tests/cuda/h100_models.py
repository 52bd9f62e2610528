"""Training steps that were recorded on an H100: name -> a builder of the step.

As the recordings were made: see ``recordings/h100/README.md``.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - as everybody writes it
from torch import nn
from torch.nn.utils.parametrizations import weight_norm
from torch.utils.checkpoint import checkpoint

import memprop.torch as mpt

BF16 = torch.bfloat16


@dataclass
class Step:
    """What a step is given."""

    module: nn.Module
    inputs: Any
    loss: Any
    target: torch.Tensor | None = None
    optimizer: Any = torch.optim.AdamW
    autocast: torch.dtype | None = None


def simulated(step, **options):
    """The step as it runs on an H100."""
    return mpt.simulate(
        step.module,
        step.inputs,
        loss=step.loss,
        target=step.target,
        optimizer=step.optimizer,
        autocast=step.autocast,
        device="cuda",
        **options,
    )


def ids(most, *shape):
    return torch.randint(most, shape)


def of_tokens(output, target):
    return F.cross_entropy(output.reshape(-1, output.shape[-1]), target.reshape(-1))


def mlp(optimizer=torch.optim.AdamW, autocast=None, **options):
    layers = [one for _ in range(8) for one in (nn.Linear(2048, 2048), nn.ReLU())]
    module = nn.Sequential(*layers, nn.Linear(2048, 10))
    made = partial(optimizer, **options)
    given = torch.randn(4096, 2048), F.cross_entropy, ids(10, 4096)
    return Step(module, *given, made, autocast)


class Encoder(nn.Module):
    def __init__(self, recompute):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(512, 8, 2048, batch_first=True, dropout=0.1)
            for _ in range(6)
        )
        self.head = nn.Linear(512, 10)
        self.recompute = recompute

    def forward(self, x):
        for layer in self.layers:
            x = checkpoint(layer, x, use_reentrant=False) if self.recompute else layer(x)
        return self.head(x.mean(1))


def encoder(autocast=None, recompute=False):
    given = torch.randn(16, 256, 512), F.cross_entropy, ids(10, 16)
    return Step(Encoder(recompute), *given, autocast=autocast)


def encoder_big():
    layer = nn.TransformerEncoderLayer(
        1024, 16, 4096, batch_first=True, dropout=0.0, norm_first=True
    )
    module = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
    return Step(module, torch.randn(8, 512, 1024), lambda o: o.square().mean(), autocast=BF16)


class Block(nn.Module):
    def __init__(self, width, heads, p):
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.o = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.heads, self.p = heads, p

    def forward(self, x):
        b, t, w = x.shape
        packed = self.qkv(self.n1(x)).view(b, t, 3, self.heads, w // self.heads)
        q, k, v = packed.permute(2, 0, 3, 1, 4)
        p = self.p if self.training else 0.0
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=p)
        # No name for what comes next: it would live longer than it did.
        x = x + F.dropout(self.o(a.transpose(1, 2).reshape(b, t, w)), self.p, self.training)
        return x + F.dropout(self.down(F.gelu(self.up(self.n2(x)))), self.p, self.training)


class GPT(nn.Module):
    def __init__(self, layers, p, width=768, vocabulary=50257, context=512):
        super().__init__()
        self.te, self.pe = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, 12, p) for _ in range(layers))
        self.n = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.te.weight

    def forward(self, i):
        x = self.te(i) + self.pe(torch.arange(i.shape[1], device=i.device))
        for block in self.blocks:
            x = block(x)
        return self.head(self.n(x))


def gpt(autocast=BF16, dtype=torch.float32, layers=12, p=0.1, batch=8):
    module = GPT(layers, p).to(dtype)
    given = ids(50257, batch, 512), of_tokens, ids(50257, batch, 512)
    return Step(module, *given, autocast=autocast)


def double(i, o):
    return nn.Sequential(
        nn.Conv2d(i, o, 3, padding=1, bias=False),
        nn.BatchNorm2d(o),
        nn.ReLU(inplace=True),
        nn.Conv2d(o, o, 3, padding=1, bias=False),
        nn.BatchNorm2d(o),
        nn.ReLU(inplace=True),
    )


class UNet(nn.Module):
    def __init__(self, c=(32, 64, 128, 256)):
        super().__init__()
        self.down = nn.ModuleList(double(i, o) for i, o in zip((3, *c), c, strict=False))
        self.mid = double(c[-1], 2 * c[-1])
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * o, o, 2, 2) for o in c[::-1])
        self.dec = nn.ModuleList(double(2 * o, o) for o in c[::-1])
        self.head = nn.Conv2d(c[0], 2, 1)

    def forward(self, x):
        keep = []
        for down in self.down:
            x = down(x)
            keep.append(x)
            x = F.max_pool2d(x, 2)
        x = self.mid(x)
        for up, dec in zip(self.up, self.dec, strict=True):
            x = dec(torch.cat([up(x), keep.pop()], 1))
        return self.head(x)


def unet():
    module = UNet().to(memory_format=torch.channels_last)
    x = torch.randn(8, 3, 256, 256).contiguous(memory_format=torch.channels_last)
    given = x, F.cross_entropy, ids(2, 8, 256, 256)
    return Step(module, *given, optimizer=torch.optim.Adam, autocast=BF16)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.e = nn.Embedding(20000, 512)
        self.r = nn.LSTM(512, 1024, 2, batch_first=True, dropout=0.2)
        self.o = nn.Linear(1024, 20000)

    def forward(self, i):
        return self.o(self.r(self.e(i))[0])


def lstm():
    given = ids(20000, 32, 64), of_tokens, ids(20000, 32, 64)
    return Step(Recurrent(), *given, optimizer=torch.optim.Adam)


class DiffusionBlock(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.n1, self.n2, self.n3 = (nn.GroupNorm(32, c) for _ in range(3))
        self.c1, self.c2 = (nn.Conv2d(c, c, 3, padding=1) for _ in range(2))
        self.qkv, self.o = nn.Conv2d(c, 3 * c, 1), nn.Conv2d(c, c, 1)

    def forward(self, x):
        x = x + self.c2(F.silu(self.n2(self.c1(F.silu(self.n1(x))))))
        b, c, h, w = x.shape
        packed = self.qkv(self.n3(x)).view(b, 3, 4, c // 4, h * w).transpose(3, 4)
        a = F.scaled_dot_product_attention(*packed.unbind(1))
        return x + self.o(a.transpose(2, 3).reshape(b, c, h, w))


def diffusion():
    module = nn.Sequential(
        nn.Conv2d(3, 256, 3, padding=1),
        *[DiffusionBlock(256) for _ in range(4)],
        nn.Conv2d(256, 3, 3, padding=1),
    )
    given = torch.randn(8, 3, 32, 32), F.mse_loss, torch.randn(8, 3, 32, 32)
    return Step(module, *given, autocast=BF16)


class Masked(nn.Module):
    def __init__(self):
        super().__init__()
        self.b = nn.ModuleList(
            nn.MultiheadAttention(512, 8, batch_first=True, dropout=0.1) for _ in range(4)
        )
        self.n = nn.ModuleList(nn.LayerNorm(512) for _ in range(4))
        self.h = nn.Linear(512, 10)

    def forward(self, x, mask):
        for b, n in zip(self.b, self.n, strict=True):
            x = n(x + b(x, x, x, attn_mask=mask, need_weights=False)[0])
        return self.h(x.mean(1))


def masked_attention():
    inputs = torch.randn(16, 256, 512), torch.zeros(256, 256)
    return Step(Masked(), inputs, F.cross_entropy, ids(10, 16))


class WaveNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.c = nn.ModuleList(
            weight_norm(nn.Conv1d(256, 512, 3, padding=2**i, dilation=2**i)) for i in range(6)
        )
        self.o, self.i = nn.Conv1d(256, 1, 1), nn.Conv1d(1, 256, 1)

    def forward(self, x):
        x = self.i(x)
        for c in self.c:
            a, g = c(x).chunk(2, 1)
            x = x + torch.tanh(a) * torch.sigmoid(g)
        return self.o(x)


def wavenet():
    given = torch.randn(8, 1, 8000), F.l1_loss, torch.randn(8, 1, 8000)
    return Step(WaveNet(), *given, optimizer=torch.optim.Adam)


STEPS = {
    "mlp_adamw": mlp,
    "mlp_adamw_loop": partial(mlp, foreach=False),
    "mlp_adamw_fused": partial(mlp, fused=True),
    "mlp_sgd": partial(mlp, optimizer=torch.optim.SGD, lr=0.1, momentum=0.9, autocast=BF16),
    "encoder": encoder,
    "encoder_bf16": partial(encoder, autocast=BF16),
    "encoder_checkpointed": partial(encoder, autocast=BF16, recompute=True),
    "encoder_big": encoder_big,
    "gpt": gpt,
    "gpt_accum": partial(gpt, layers=6, p=0.0),
    "gpt_pure_bf16": partial(gpt, autocast=None, dtype=BF16, p=0.0),
    "unet_bf16_channels_last": unet,
    "lstm": lstm,
    "diffusion": diffusion,
    "masked_attention": masked_attention,
    "wavenet": wavenet,
}
"""Those of plain PyTorch."""


def transformer(model, config, autocast=BF16, dtype=torch.float32, seq=512, **options):
    """A stock model of Hugging Face, its loss computed by itself."""
    import transformers

    vocabulary = 30000
    if config != "BertConfig":
        options["use_cache"] = False
    made = getattr(transformers, config)(vocab_size=vocabulary, **options)
    module = getattr(transformers, model)(made).to(dtype)
    module.train()
    inputs = {"input_ids": ids(vocabulary, 4, seq), "labels": ids(vocabulary, 4, seq)}
    return Step(module, inputs, lambda output: output.loss, autocast=autocast)


WIDE = {"hidden_size": 768, "num_hidden_layers": 6, "num_attention_heads": 12}
TRANSFORMERS = {
    "hf_gpt2": partial(transformer, "GPT2LMHeadModel", "GPT2Config", n_layer=6),
    "hf_llama": partial(
        transformer,
        "LlamaForCausalLM",
        "LlamaConfig",
        hidden_size=1024,
        intermediate_size=2816,
        num_hidden_layers=8,
        num_attention_heads=16,
        num_key_value_heads=4,
        autocast=None,
        dtype=BF16,
    ),
    "hf_t5": partial(
        transformer,
        "T5ForConditionalGeneration",
        "T5Config",
        d_model=512,
        num_layers=4,
        autocast=None,
        decoder_start_token_id=0,
        pad_token_id=0,
    ),
    "hf_opt": partial(
        transformer, "OPTForCausalLM", "OPTConfig", ffn_dim=3072, word_embed_proj_dim=768, **WIDE
    ),
    "hf_neox": partial(
        transformer,
        "GPTNeoXForCausalLM",
        "GPTNeoXConfig",
        intermediate_size=3072,
        autocast=None,
        dtype=BF16,
        **WIDE,
    ),
    "hf_roberta": partial(
        transformer,
        "RobertaForMaskedLM",
        "RobertaConfig",
        num_hidden_layers=6,
        max_position_embeddings=514,
        pad_token_id=1,
        seq=256,
    ),
    "hf_electra": partial(
        transformer, "ElectraForMaskedLM", "ElectraConfig", num_hidden_layers=6, autocast=None
    ),
    "hf_qwen3": partial(
        transformer,
        "Qwen3ForCausalLM",
        "Qwen3Config",
        intermediate_size=2048,
        num_key_value_heads=4,
        head_dim=64,
        **WIDE,
    ),
}
"""Those of transformers 5.17."""


def picture_step(module, classes, batch, optimizer, autocast, channels_last=False):
    layout = torch.channels_last if channels_last else torch.contiguous_format
    module = module.to(memory_format=layout)
    x = torch.randn(batch, 3, 224, 224).contiguous(memory_format=layout)
    return Step(module, x, F.cross_entropy, ids(classes, batch), optimizer, autocast)


MOMENTUM = partial(torch.optim.SGD, lr=0.1, momentum=0.9)


def of_torchvision(name, autocast=None, channels_last=False, optimizer=MOMENTUM):
    import torchvision

    module = getattr(torchvision.models, name)()
    return picture_step(module, 1000, 32, optimizer, autocast, channels_last)


def of_timm(name, autocast=BF16, batch=32):
    import timm

    module = timm.create_model(name, pretrained=False, num_classes=100)
    return picture_step(module, 100, batch, torch.optim.AdamW, autocast)


PICTURES = {
    "resnet50": partial(of_torchvision, "resnet50"),
    "resnet50_bf16_cl": partial(of_torchvision, "resnet50", autocast=BF16, channels_last=True),
    "vit_b_16": partial(of_torchvision, "vit_b_16", autocast=BF16, optimizer=torch.optim.AdamW),
    "efficientnet_b0": partial(of_torchvision, "efficientnet_b0"),
    "densenet121": partial(of_torchvision, "densenet121"),
    "mobilenet_v3_large": partial(
        of_torchvision, "mobilenet_v3_large", autocast=BF16, channels_last=True
    ),
    "vgg16": partial(of_torchvision, "vgg16"),
    "resnext50": partial(of_torchvision, "resnext50_32x4d", autocast=BF16),
    "timm_mixer": partial(of_timm, "mixer_b16_224"),
    "timm_convmixer": partial(of_timm, "convmixer_768_32", batch=8),
    "timm_edgenext": partial(of_timm, "edgenext_small", autocast=None),
}
"""Those of torchvision and timm."""
