"""Training steps of many kinds: name -> function of a device that builds one.

None of them reads a file; parameters and samples are random.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import nn


@dataclass(frozen=True)
class Step:
    """A training step.

    Attributes:
        module: what learns.
        inputs: a tensor, a tuple of arguments or a dict of keyword arguments.
        loss: a function of the output, and of the target if there is one.
        target: for the loss, or ``None``.
        optimizer: a function of the parameters.
        autocast: the type of numbers under autocast, or ``None``.
    """

    module: nn.Module
    inputs: Any
    loss: Callable[..., torch.Tensor]
    target: torch.Tensor | None
    optimizer: Callable[..., torch.optim.Optimizer]
    autocast: torch.dtype | None = None


def generator(device: str) -> Step:
    """A DCGAN's generator: transposed convolutions and batch norm."""
    channels = 512
    layers = [nn.ConvTranspose2d(128, channels, 4, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
    for _ in range(3):
        half = channels // 2
        layers += [
            nn.ConvTranspose2d(channels, half, 4, 2, 1, bias=False),
            nn.BatchNorm2d(half),
            nn.LeakyReLU(0.2),
        ]
        channels = half
    module = nn.Sequential(*layers, nn.ConvTranspose2d(channels, 3, 4, 2, 1), nn.Tanh())
    return Step(
        module.to(device),
        torch.randn(256, 128, 1, 1, device=device),
        F.mse_loss,
        torch.randn(256, 3, 64, 64, device=device),
        partial(torch.optim.Adam, lr=2e-4, betas=(0.5, 0.999)),
    )


class UNet3d(nn.Module):
    """Convolutions in three dimensions, instance norm, skip connections."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = _block(1, 16), _block(16, 32), _block(32, 64)
        self.up_third = nn.ConvTranspose3d(64, 32, 2, 2)
        self.up_second = nn.ConvTranspose3d(32, 16, 2, 2)
        self.back_second, self.back_first = _block(64, 32), _block(32, 16)
        self.head = nn.Conv3d(16, 3, 1)

    def forward(self, x):
        first = self.first(x)
        second = self.second(F.max_pool3d(first, 2))
        third = self.third(F.max_pool3d(second, 2))
        back = self.back_second(torch.cat([self.up_third(third), second], 1))
        return self.head(self.back_first(torch.cat([self.up_second(back), first], 1)))


def _block(inputs: int, outputs: int) -> nn.Sequential:
    layers = []
    for channels in (inputs, outputs):
        layers += [
            nn.Conv3d(channels, outputs, 3, padding=1),
            nn.InstanceNorm3d(outputs, affine=True),
            nn.LeakyReLU(0.01, inplace=True),
        ]
    return nn.Sequential(*layers)


def unet3d(device: str) -> Step:
    """Segmentation of volumes, under bfloat16 autocast."""
    return Step(
        UNet3d().to(device),
        torch.randn(2, 1, 64, 64, 64, device=device),
        F.cross_entropy,
        torch.randint(3, (2, 64, 64, 64), device=device),
        partial(torch.optim.SGD, lr=0.01, momentum=0.99, nesterov=True),
        torch.bfloat16,
    )


class Speech(nn.Module):
    """Convolutions, then a bidirectional GRU."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, 32, 3, 2, 1), nn.GELU(), nn.Conv2d(32, 32, 3, 2, 1), nn.GELU()
        )
        self.cells = nn.GRU(640, 512, 3, bidirectional=True, batch_first=True, dropout=0.1)
        self.head = nn.Linear(1024, 32)

    def forward(self, x):
        x = self.convolutions(x).permute(0, 3, 1, 2).flatten(2)
        return self.head(self.cells(x)[0]).log_softmax(-1).transpose(0, 1)


def speech(device: str) -> Step:
    """Recognition of speech with CTC."""
    lengths = torch.full((16,), 200), torch.full((16,), 40)
    return Step(
        Speech().to(device),
        torch.randn(16, 1, 80, 800, device=device),
        lambda output, target: F.ctc_loss(output, target, *lengths),
        torch.randint(1, 32, (16, 40), device=device),
        torch.optim.AdamW,
    )


class Recommender(nn.Module):
    """Eight tables of embeddings, of which bags are averaged, and a network."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.EmbeddingBag(100_000, 64, mode="mean") for _ in range(8))
        self.network = nn.Sequential(
            *(nn.Linear(512, 1024), nn.BatchNorm1d(1024), nn.PReLU(), nn.Dropout(0.2)),
            *(nn.Linear(1024, 256), nn.Mish(), nn.Linear(256, 1)),
        )

    def forward(self, x):
        found = [table(x[:, place]) for place, table in enumerate(self.tables)]
        return self.network(torch.cat(found, 1)).squeeze(1)


def recommender(device: str) -> Step:
    """Clicks, with Adagrad."""
    return Step(
        Recommender().to(device),
        torch.randint(100_000, (8192, 8, 10), device=device),
        F.binary_cross_entropy_with_logits,
        torch.rand(8192, device=device),
        torch.optim.Adagrad,
    )


class GraphNetwork(nn.Module):
    """Messages along the edges of a graph: gathers and scatters."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(256, 256) for _ in range(4))
        self.head = nn.Linear(256, 40)

    def forward(self, x, source, to):
        for layer in self.layers:
            sums = torch.zeros_like(x).index_add_(0, to, layer(x)[source])
            x = F.elu(x + sums / 8)
        return self.head(x)


def graph(device: str) -> Step:
    """Classes of nodes, with Adam's amsgrad."""
    edges = (torch.randint(20_000, (160_000,), device=device) for _ in range(2))
    return Step(
        GraphNetwork().to(device),
        (torch.randn(20_000, 256, device=device), *edges),
        F.cross_entropy,
        torch.randint(40, (20_000,), device=device),
        partial(torch.optim.Adam, amsgrad=True),
    )


class Words(nn.Module):
    """A language model of recurrent layers."""

    def __init__(self, kind: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20_000, 512)
        self.cells = kind(512, 1024, 2, batch_first=True, dropout=0.2)
        self.head = nn.Linear(1024, 20_000)

    def forward(self, ids):
        return self.head(self.cells(self.embedding(ids))[0])


def gru(device: str) -> Step:
    """Next words, with a GRU."""
    ids = torch.randint(20_000, (2, 32, 64), device=device)
    return Step(Words(nn.GRU).to(device), ids[0].clone(), next_words, ids[1], torch.optim.Adam)


def next_words(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Cross-entropy over all places of all sequences."""
    return F.cross_entropy(output.flatten(0, 1), target.flatten())


def language_model(
    device: str,
    *,
    kind: str,
    config: str,
    length: int = 512,
    padded_from: int | None = None,
    checkpointed: bool = False,
    autocast: torch.dtype | None = torch.bfloat16,
    **sizes: Any,
) -> Step:
    """One of transformers', that computes its loss itself; half of the samples may be padded."""
    import transformers

    words = 30_000
    module = getattr(transformers, kind)(getattr(transformers, config)(vocab_size=words, **sizes))
    module.to(device).train()
    if checkpointed:
        module.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    inputs = {
        "input_ids": torch.randint(words, (4, length), device=device),
        "labels": torch.randint(words, (4, length), device=device),
    }
    if padded_from is not None:
        mask = torch.ones(4, length, dtype=torch.int64, device=device)
        mask[2:, padded_from:] = 0
        inputs["attention_mask"] = mask
    return Step(module, inputs, lambda output: output.loss, None, torch.optim.AdamW, autocast)


def image_model(device: str, *, name: str, channels_last: bool = False, **step: Any) -> Step:
    """One of torchvision's, on 32 pictures."""
    import torchvision

    module = getattr(torchvision.models, name)().to(device)
    x = torch.randn(32, 3, 224, 224, device=device)
    if channels_last:
        module, x = (one.to(memory_format=torch.channels_last) for one in (module, x))
    target = torch.randint(1000, (32,), device=device)
    return Step(module, x, F.cross_entropy, target, **({"optimizer": torch.optim.AdamW} | step))


STEPS: dict[str, Callable[[str], Step]] = {
    "generator": generator,
    "unet3d": unet3d,
    "speech": speech,
    "recommender": recommender,
    "graph": graph,
    "gru": gru,
    "hf_bert_padded": partial(
        language_model,
        kind="BertForMaskedLM",
        config="BertConfig",
        num_hidden_layers=6,
        length=384,
        padded_from=300,
        autocast=None,
    ),
    "hf_llama_checkpointed": partial(
        language_model,
        kind="LlamaForCausalLM",
        config="LlamaConfig",
        hidden_size=768,
        intermediate_size=2048,
        num_hidden_layers=8,
        num_attention_heads=12,
        num_key_value_heads=4,
        use_cache=False,
        padded_from=400,
        checkpointed=True,
    ),
    "hf_gemma": partial(
        language_model,
        kind="GemmaForCausalLM",
        config="GemmaConfig",
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=6,
        num_attention_heads=8,
        num_key_value_heads=1,
        head_dim=96,
        pad_token_id=0,
        use_cache=False,
    ),
    "swin_t": partial(image_model, name="swin_t", autocast=torch.bfloat16),
    "convnext_tiny": partial(image_model, name="convnext_tiny"),
    "regnet_y_1_6gf": partial(
        image_model,
        name="regnet_y_1_6gf",
        autocast=torch.float16,
        channels_last=True,
        optimizer=partial(torch.optim.SGD, lr=0.1, momentum=0.9),
    ),
}
