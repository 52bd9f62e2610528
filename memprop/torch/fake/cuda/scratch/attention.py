"""The backward passes of fused attention."""

import math
from collections.abc import Iterator
from typing import Final

import torch

from memprop.cuda.rounding import round_up
from memprop.torch.fake.cuda.scratch.rules import Call, Rules, bytes_of, bytes_of_copy

_aten: Final = torch.ops.aten
RULES: Final = Rules()


@RULES.of(_aten._scaled_dot_product_efficient_attention_backward.default)
def _efficient_attention_backward(call: Call) -> Iterator[int]:
    """transformers/cuda/attention_backward.cu: the product of output and gradient, and its sums."""
    gradient, query = call["grad_out_"], call["query"]
    laid_out = gradient.transpose(1, 2)
    yield bytes_of_copy(laid_out)
    yield bytes_of(gradient, 4)
    rows = math.prod(query.shape[:3]) * 4
    yield rows
    yield rows


@RULES.of(_aten._scaled_dot_product_flash_attention_backward.default)
def _flash_attention_backward(call: Call) -> Iterator[int]:
    """transformers/cuda/flash_attn/flash_api.cpp: ``mha_bwd``."""
    query, key = call["query"], call["key"]
    batch, heads, rows, width = query.shape
    rounded_rows, rounded_width = round_up(rows, 128), round_up(width, 32)
    yield batch * heads * rounded_rows * 4
    yield batch * rounded_rows * heads * rounded_width * 4
    if key.shape[1] != heads:
        yield from (batch * key.shape[2] * heads * width * query.element_size(),) * 2


@RULES.of(_aten._scaled_dot_product_cudnn_attention.default)
def _cudnn_attention(_: Call) -> Iterator[int]:
    yield 256


@RULES.of(_aten._scaled_dot_product_cudnn_attention_backward.default)
def _cudnn_attention_backward(call: Call) -> Iterator[int]:
    """What was measured: the gradient of the queries in 32 bits, a sum for each of their rows.

    Keys and values that heads share get gradients head by head, which are then added up.
    """
    query, key, value = call["query"], call["key"], call["value"]
    rows = math.prod(query.shape[:3])
    yield rows * query.shape[3] * 4 + rows * 4 + 256
    if key.shape[1] != query.shape[1]:
        shared = query.shape[1] // key.shape[1]
        yield bytes_of(key) * shared
        yield bytes_of(value) * shared
