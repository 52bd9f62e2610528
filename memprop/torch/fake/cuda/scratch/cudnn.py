"""Convolutions, batch norm and recurrent layers of cuDNN, which alone decides: guesses."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import torch

from memprop.cuda.rounding import ceil_div
from memprop.torch.fake.cuda import convolution, recurrent
from memprop.torch.fake.cuda.convolution import Convolution
from memprop.torch.fake.cuda.scratch.rules import (
    AND_THEN,
    Call,
    Rules,
    bytes_of,
    bytes_of_copy,
    channels_are_last,
)

_aten: Final = torch.ops.aten
RULES: Final = Rules()


@RULES.of(_aten.convolution.default)
def _convolution(call: Call) -> Iterator[int]:
    yield convolution.forward_bytes(Convolution.of(call.given, call.made))


@RULES.of(_aten.convolution_backward.default)
def _convolution_backward(call: Call) -> Iterator[int]:
    """The gradient of the samples first, then that of the weights."""
    convolved = Convolution.of(call.given, call["grad_output"])
    if call["output_mask"][0]:
        yield convolution.forward_bytes(replace(convolved, dilation=(1,)))
        yield AND_THEN
    if call["output_mask"][1]:
        yield convolution.backward_bytes(convolved)


@RULES.of(_aten.cudnn_batch_norm.default)
def _cudnn_batch_norm(call: Call) -> Iterator[int]:
    if call["training"] and channels_are_last(call["input"]):
        yield int(3.24 * _places_by_channels(call["input"]))


@RULES.of(_aten.cudnn_batch_norm_backward.default)
def _cudnn_batch_norm_backward(call: Call) -> Iterator[int]:
    if channels_are_last(call["input"]):
        yield int(5.36 * _places_by_channels(call["input"]))


def _places_by_channels(samples: torch.Tensor) -> int:
    """How many places there are, for every 64 channels."""
    channels = samples.shape[1]
    return samples.numel() // channels * ceil_div(channels, 64)


@RULES.of(_aten._cudnn_rnn.default)
def _recurrent(call: Call) -> Iterator[int]:
    """The workspace, and samples laid out step by step."""
    yield bytes_of_copy(_by_step(call))
    yield recurrent.workspace_bytes(call.given)


@RULES.of(_aten._cudnn_rnn_backward.default)
def _recurrent_backward(call: Call) -> Iterator[int]:
    """Gradients that nobody gave are zeros; samples and gradients are laid out step by step."""
    for gradient, state in (("grad_hy", "hx"), ("grad_cy", "cx")):
        if call[gradient] is None and call[state] is not None:
            yield bytes_of(call[state])
    yield bytes_of_copy(_by_step(call))
    if call["grad_output"] is not None:
        yield bytes_of_copy(_by_step(call, "grad_output"))
    yield recurrent.workspace_bytes(call.given)
    yield AND_THEN
    yield bytes_of_copy(_by_step(call))
    yield recurrent.workspace_bytes(call.given)


def _by_step(call: Call, name: str = "input") -> torch.Tensor:
    samples = call[name]
    padded = call["batch_first"] and not call["batch_sizes"]
    return samples.transpose(0, 1) if padded else samples
