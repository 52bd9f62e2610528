"""Thirty stock models at five budgets each: within budget, and the same bits after three updates.

Small configurations of transformers' and torchvision's models and a U-Net, with random weights. For
each, budgets go from near the plain step's peak down to the least that a plan keeps to. The planned
and the plain module make three updates (SGD with momentum) from the same state and seeds, with
dropout; losses, gradients, parameters and buffers are compared bit by bit. The peak of a real step
of the planned module is that of mpt.trace.

Needs: pip install torch==2.14.1 torchvision==0.29.1 transformers
Run: python -m experiments.benchmarks.checkpoint_models [--out reports/checkpoint_models] [NAME ...]
"""

import argparse
import copy
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

import memprop.torch as mpt
from experiments.benchmarks.checkpoint_knob import UNet
from memprop import format_bytes
from memprop.errors import InfeasibleBudget

SHARES = (0.8, 0.6, 0.4, 0.2, 0.0)
UPDATES = 3
WORDS, LENGTH, BATCH = 211, 48, 4

Made = tuple[nn.Module, dict[str, Any]]


def text(**more: Any) -> dict[str, Any]:
    ids = torch.randint(5, WORDS, (BATCH, LENGTH))
    return {"input_ids": ids, "labels": ids.clone(), **more}


def pixels() -> dict[str, Any]:
    return {"pixel_values": torch.randn(BATCH, 3, 32, 32), "labels": torch.arange(BATCH) % 2}


SIZES = {
    "vocab_size": WORDS,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}


def language_model(name: str, task: str, **more: Any) -> Callable[[], Made]:
    """A language model of transformers."""

    def make() -> Made:
        import transformers

        config = getattr(transformers, f"{name}Config")(**{**SIZES, **more})
        return getattr(transformers, f"{name}For{task}")(config), text()

    return make


def decoder(name: str, **more: Any) -> Callable[[], Made]:
    """A causal language model of transformers."""
    return language_model(name, "CausalLM", pad_token_id=0, use_cache=False, **more)


def encoder(name: str, **more: Any) -> Callable[[], Made]:
    """A masked language model of transformers."""
    return language_model(name, "MaskedLM", **more)


def gpt2() -> Made:
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64}
    return GPT2LMHeadModel(GPT2Config(vocab_size=WORDS, use_cache=False, **sizes)), text()


def distilbert() -> Made:
    from transformers import DistilBertConfig, DistilBertForMaskedLM

    sizes = {"dim": 32, "hidden_dim": 64, "n_layers": 3, "n_heads": 4}
    return DistilBertForMaskedLM(DistilBertConfig(vocab_size=WORDS, **sizes)), text()


def t5() -> Made:
    from transformers import T5Config, T5ForConditionalGeneration

    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
    config = T5Config(vocab_size=WORDS, decoder_start_token_id=0, use_cache=False, **sizes)
    return T5ForConditionalGeneration(config), text()


def bart() -> Made:
    from transformers import BartConfig, BartForConditionalGeneration

    sizes = {
        f"{side}_{what}": size
        for side in ("encoder", "decoder")
        for what, size in (("layers", 2), ("attention_heads", 4), ("ffn_dim", 64))
    }
    config = BartConfig(
        vocab_size=WORDS, d_model=32, max_position_embeddings=64, use_cache=False, **sizes
    )
    return BartForConditionalGeneration(config), text()


def whisper() -> Made:
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    sizes = {
        f"{side}_{what}": size
        for side in ("encoder", "decoder")
        for what, size in (("layers", 2), ("attention_heads", 4), ("ffn_dim", 64))
    }
    config = WhisperConfig(
        vocab_size=WORDS,
        d_model=32,
        num_mel_bins=16,
        max_source_positions=20,
        max_target_positions=64,
        decoder_start_token_id=1,
        pad_token_id=0,
        use_cache=False,
        **sizes,
    )
    labels = torch.randint(5, WORDS, (BATCH, LENGTH))
    given = {"input_features": torch.randn(BATCH, 16, 40), "labels": labels}
    return WhisperForConditionalGeneration(config), given


def vit() -> Made:
    from transformers import ViTConfig, ViTForImageClassification

    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
    config = ViTConfig(intermediate_size=64, image_size=32, patch_size=8, **sizes)
    return ViTForImageClassification(config), pixels()


def swin() -> Made:
    from transformers import SwinConfig, SwinForImageClassification

    config = SwinConfig(
        image_size=32, patch_size=2, embed_dim=16, depths=[2, 2], num_heads=[2, 4], window_size=4
    )
    return SwinForImageClassification(config), pixels()


def convnext() -> Made:
    from transformers import ConvNextConfig, ConvNextForImageClassification

    config = ConvNextConfig(hidden_sizes=[16, 32], depths=[2, 2], num_stages=2)
    return ConvNextForImageClassification(config), pixels()


def clip() -> Made:
    from transformers import CLIPConfig, CLIPModel

    sizes = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    config = CLIPConfig(
        text_config={
            **sizes,
            "vocab_size": WORDS,
            "max_position_embeddings": 64,
            "eos_token_id": 2,
            "bos_token_id": 1,
            "pad_token_id": 0,
        },
        vision_config={**sizes, "image_size": 32, "patch_size": 8},
        projection_dim=16,
    )
    given = {
        "input_ids": text()["input_ids"],
        "pixel_values": torch.randn(BATCH, 3, 32, 32),
        "return_loss": True,
    }
    return CLIPModel(config), given


def mamba() -> Made:
    from transformers import MambaConfig, MambaForCausalLM

    config = MambaConfig(vocab_size=WORDS, hidden_size=32, num_hidden_layers=2, state_size=4)
    return MambaForCausalLM(config), text()


def vision(name: str, **more: Any) -> Callable[[], Made]:
    """A classifier of torchvision."""

    def make() -> Made:
        import torchvision

        module = getattr(torchvision.models, name)(weights=None, num_classes=10, **more)
        return module, {"x": torch.randn(16, 3, 64, 64)}

    return make


def segmentation() -> Made:
    import torchvision

    module = torchvision.models.segmentation.lraspp_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=4
    )
    return module, {"input": torch.randn(16, 3, 64, 64)}


class Convolutions(nn.Sequential):
    def __init__(self, before: int, after: int) -> None:
        parts: list[nn.Module] = []
        for channels in (before, after):
            parts += [
                nn.Conv2d(channels, after, 3, padding=1),
                nn.BatchNorm2d(after),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*parts)


def unet() -> Made:
    return UNet(8, convolutions=Convolutions), {"x": torch.randn(BATCH, 3, 64, 64)}


MODELS: dict[str, Callable[[], Made]] = {
    "GPT-2": gpt2,
    "Llama": decoder("Llama", num_key_value_heads=2),
    "Mistral": decoder("Mistral", num_key_value_heads=2, head_dim=8),
    "Qwen2": decoder("Qwen2", num_key_value_heads=2),
    "Qwen3": decoder("Qwen3", num_key_value_heads=2, head_dim=8),
    "Gemma": decoder("Gemma", num_key_value_heads=1, head_dim=8),
    "Phi": decoder("Phi"),
    "OPT": decoder("OPT", ffn_dim=64, word_embed_proj_dim=32),
    "GPT-NeoX": decoder("GPTNeoX"),
    "Falcon": decoder("Falcon"),
    "Mamba": mamba,
    "BERT": encoder("Bert"),
    "RoBERTa": encoder("Roberta"),
    "ELECTRA": encoder("Electra", embedding_size=32),
    "ALBERT": encoder("Albert", embedding_size=16),
    "DeBERTa-v2": encoder("DebertaV2", relative_attention=True, pos_att_type=["p2c", "c2p"]),
    "DistilBERT": distilbert,
    "T5": t5,
    "BART": bart,
    "Whisper": whisper,
    "ViT": vit,
    "Swin": swin,
    "ConvNeXt": convnext,
    "CLIP": clip,
    "ResNet-18": vision("resnet18"),
    "ResNet-50": vision("resnet50"),
    "DenseNet-121": vision("densenet121"),
    "EfficientNet-B0": vision("efficientnet_b0"),
    "MobileNet-V3": vision("mobilenet_v3_small"),
    "GoogLeNet": vision("googlenet", aux_logits=False, init_weights=False),
    "LR-ASPP": segmentation,
    "U-Net": unet,
}


def loss_of(output: Any) -> torch.Tensor:
    """The loss in a model's output, or the mean square of all that it returns."""
    found = getattr(output, "loss", None)
    if found is not None:
        return found
    values = output.values() if isinstance(output, dict) else [output]
    return sum((value.square().mean() for value in values), torch.zeros(()))


def optimizer_of(parameters: Any) -> torch.optim.Optimizer:
    """One with a state that is not so large that nothing else counts."""
    return torch.optim.SGD(parameters, lr=1e-2, momentum=0.9, foreach=False)


def numbers_after(module: nn.Module, given: dict[str, Any]) -> list[torch.Tensor]:
    """Losses, gradients, parameters and buffers of some updates."""
    optimizer, found = optimizer_of(module.parameters()), []
    for update in range(UPDATES):
        torch.manual_seed(update)
        optimizer.zero_grad()
        loss = loss_of(module(**given))
        loss.backward()
        found += [loss.detach(), *(p.grad for p in module.parameters() if p.grad is not None)]
        found = [tensor.clone() for tensor in found]
        optimizer.step()
    return [
        *found,
        *(tensor.detach().clone() for tensor in (*module.parameters(), *module.buffers())),
    ]


def same(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> bool:
    return len(ours) == len(theirs) and all(
        torch.equal(one.nan_to_num(), other.nan_to_num())
        for one, other in zip(ours, theirs, strict=True)
    )


def rows_of(name: str) -> list[dict[str, Any]]:
    torch.manual_seed(0)
    module, given = MODELS[name]()
    module.train()
    options = {"loss": loss_of, "optimizer": optimizer_of}
    plain = mpt.simulate(module, given, warmup=1, **options).peak
    try:
        mpt.auto_checkpoint(module, given, 1, **options)
        raise AssertionError("a step in one byte")
    except InfeasibleBudget as error:
        least = error.smallest
    start = copy.deepcopy(module)
    expected = numbers_after(module, given)
    found = []
    for share in SHARES:
        budget = least + round(share * (plain - least))
        planned_from = copy.deepcopy(start)
        begin = time.perf_counter()
        planned = mpt.auto_checkpoint(planned_from, given, budget, **options)
        seconds = time.perf_counter() - begin
        bits = same(numbers_after(planned, given), expected)
        planned.zero_grad()
        traced = mpt.trace(planned, given, warmup=1, **options).peak
        plan = planned.plan
        found.append(
            {
                "model": name,
                "share": share,
                "plain_peak": plain,
                "budget": budget,
                "predicted_peak": plan.peak,
                "traced_peak": traced,
                "within": traced <= budget,
                "same_bits": bits,
                "slowdown": plan.slowdown,
                "planning_seconds": seconds,
                "kept": "; ".join(plan.kept),
            }
        )
    return found


def as_text(table: pd.DataFrame) -> pd.DataFrame:
    shown = table.drop(columns=["kept", "planning_seconds"])
    for column in ("plain_peak", "budget", "predicted_peak", "traced_peak"):
        shown[column] = [format_bytes(int(size)) for size in shown[column]]
    shown["slowdown"] = shown["slowdown"].map("{:.3f}".format)
    return shown


def report(table: pd.DataFrame) -> str:
    exact = int((table["predicted_peak"] == table["traced_peak"]).sum())
    off = int((table["traced_peak"] - table["predicted_peak"]).abs().max())
    within, same_bits = int(table["within"].sum()), int(table["same_bits"].sum())
    return f"""# auto_checkpoint on stock models

{table["model"].nunique()} models at {len(SHARES)} budgets, PyTorch {torch.__version__} on the CPU.
Written by
`python -m experiments.benchmarks.checkpoint_models --out reports/checkpoint_models`.

- Within budget, as traced: {within} of {len(table)}.
- Losses, gradients, parameters and buffers of {UPDATES} updates are those of the plain module,
  bit by bit: {same_bits} of {len(table)}.
- The predicted peak is the traced one to the byte in {exact} of {len(table)}, and at most
  {off} bytes off.

`share` is where the budget lies between the least that a plan keeps to (0) and the plain step's
peak (1); `slowdown` is predicted by FLOPs.

```text
{as_text(table).to_string(index=False)}
```
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="auto_checkpoint on stock models")
    parser.add_argument("--out", type=Path, help="a folder; what it has of other models stays")
    parser.add_argument("names", nargs="*", choices=[*MODELS, []], metavar="NAME")
    asked = parser.parse_args()
    tables = []
    for name in asked.names or MODELS:
        tables.append(pd.DataFrame(rows_of(name)))
        print(as_text(tables[-1]).to_string(index=False, header=False), flush=True)
        if asked.out is not None:
            _store(asked.out, tables[-1])
    if asked.out is None:
        print(report(pd.concat(tables)))


def _store(folder: Path, table: pd.DataFrame) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    results = folder / "results.csv"
    if results.exists():
        before = pd.read_csv(results, keep_default_na=False)
        table = pd.concat([before[~before["model"].isin(table["model"])], table])
    table = table.sort_values("model", kind="stable", key=lambda names: names.map([*MODELS].index))
    table.to_csv(results, index=False)
    (folder / "README.md").write_text(report(table), encoding="utf-8")


if __name__ == "__main__":
    main()
