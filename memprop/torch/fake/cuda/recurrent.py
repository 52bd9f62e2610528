"""Recurrent layers as cuDNN runs them: what they return, and what they keep for backward.

The calls are those of aten/src/ATen/native/cudnn/RNN.cpp (PyTorch 2.11). How much cuDNN keeps and
takes only cuDNN decides: the formulas here were found from 500 layers on an H100 (cuDNN 9.19).
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import torch

from memprop.cuda.rounding import round_up

_aten: Final = torch.ops.aten
_RELU, _TANH, _LSTM, _GRU = range(4)
"""cuDNN's numbers of the modes (``cudnnRNNMode_t``)."""
_STATES: Final = {_RELU: 1, _TANH: 1, _LSTM: 5, _GRU: 6}
"""How many values of each step and unit are kept: found from what was measured."""
_GATES: Final = {_RELU: 1, _TANH: 1, _LSTM: 4, _GRU: 3}
_UNIT: Final = 128
_CONSTANT: Final = 256
_FOR_PRODUCTS: Final = 2**23

_Tensor = torch.Tensor


def recurrent_layers() -> Iterator[tuple[str, Callable[..., Any]]]:
    """PyTorch's operators by name, each as cuDNN runs it."""
    for name, mode in (("lstm", _LSTM), ("gru", _GRU), ("rnn_tanh", _TANH), ("rnn_relu", _RELU)):
        yield f"{name}.input", _of_padded(mode)
        yield f"{name}.data", _of_packed(mode)


def _of_padded(mode: int) -> Callable[..., Any]:
    def run(
        samples: _Tensor, states: Any, weights: Sequence[_Tensor], biases: bool, *options: Any
    ) -> Any:
        return _cudnn(mode, samples, states, weights, biases, *options)

    return run


def _of_packed(mode: int) -> Callable[..., Any]:
    def run(
        samples: _Tensor,
        lengths: _Tensor,
        states: Any,
        weights: Sequence[_Tensor],
        biases: bool,
        *options: Any,
    ) -> Any:
        sizes = lengths.tolist()
        return _cudnn(mode, samples, states, weights, biases, *options, sizes=sizes)

    return run


def _cudnn(
    mode: int,
    samples: _Tensor,
    states: Any,
    weights: Sequence[_Tensor],
    biases: bool,
    layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool = False,
    *,
    sizes: Sequence[int] = (),
) -> Any:
    hidden, cell = states if mode == _LSTM else (states, None)
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        samples, hidden = samples.to(dtype), hidden.to(dtype)
        cell = None if cell is None else cell.to(dtype)
        weights = [weight.to(dtype) for weight in weights]
    width = weights[1].shape[1]
    projected = mode == _LSTM and width != weights[1].shape[0] // _GATES[mode]
    output, *last = _aten._cudnn_rnn.default(
        samples,
        weights,
        (4 if biases else 2) + projected,
        None,
        hidden,
        cell,
        mode,
        weights[1].shape[0] // _GATES[mode],
        width if projected else 0,
        layers,
        batch_first,
        dropout,
        train,
        bidirectional,
        list(sizes),
        None,
    )[: 3 if mode == _LSTM else 2]
    return (output, *last)


def forward(given: dict[str, Any]) -> tuple[_Tensor, ...]:
    """What ``_cudnn_rnn`` returns; the weights' buffer is the parameters' own."""
    samples, hidden, cell = given["input"], given["hx"], given["cx"]
    width = (given["proj_size"] or given["hidden_size"]) * (2 if given["bidirectional"] else 1)
    output = _laid_out(samples, width, given)
    reserve = reserve_bytes(given) if given["train"] else 0
    return (
        output,
        torch.empty_like(hidden, memory_format=torch.contiguous_format),
        samples.new_empty(0) if cell is None else torch.empty_like(cell),
        samples.new_empty(reserve, dtype=torch.uint8),
        samples.new_empty(0),
    )


def backward(given: dict[str, Any]) -> tuple[Any, ...]:
    """What ``_cudnn_rnn_backward`` returns; the weights' gradients lie in one buffer."""
    samples, hidden, cell = given["input"], given["hx"], given["cx"]
    mask, weights = given["output_mask"], given["weight"]
    flat = samples.new_empty(sum(weight.numel() for weight in weights))
    pieces = flat.split([weight.numel() for weight in weights])
    return (
        _laid_out(samples, samples.shape[-1], given) if mask[0] else None,
        torch.empty_like(hidden) if mask[1] else None,
        torch.empty_like(cell) if mask[2] and cell is not None else None,
        [piece.view(weight.shape) for piece, weight in zip(pieces, weights, strict=True)]
        if mask[3]
        else [],
    )


def _laid_out(samples: _Tensor, width: int, given: dict[str, Any]) -> _Tensor:
    """A tensor with a step of all samples after the other, as cuDNN has them."""
    shape = (*samples.shape[:-1], width)
    if not given["batch_first"] or given["batch_sizes"]:
        return samples.new_empty(shape)
    return samples.new_empty(shape[1], shape[0], width).transpose(0, 1)


def _steps(given: dict[str, Any]) -> int:
    """How many steps all samples have together."""
    return given["input"].shape[:-1].numel()


def reserve_bytes(given: dict[str, Any]) -> int:
    """Bytes that a layer keeps for its backward pass.

    States of each layer and the input of each but the first, and a bit for each number that may
    be dropped.
    """
    directions = 2 if given["bidirectional"] else 1
    layers, itemsize = given["num_layers"], given["input"].element_size()
    width = given["hidden_size"] * directions
    kept = _STATES[given["mode"]] * layers + layers - 1
    if given["proj_size"]:  # the states before the projection, as well
        kept += layers
    steps = _steps(given)
    size = round_up(steps * width * itemsize * kept, _UNIT)
    if given["dropout"] > 0 and layers > 1:
        lengths = given["batch_sizes"]
        padded = len(lengths) * lengths[0] if lengths else steps
        size += (layers - 1) * round_up(padded * width * directions // 8, _UNIT)
    return _CONSTANT + size


def workspace_bytes(given: dict[str, Any]) -> int:
    """Bytes that a layer takes while it runs, forward and backward alike; fitted, not known."""
    directions = 2 if given["bidirectional"] else 1
    samples, mode = given["input"], given["mode"]
    itemsize, layers = samples.element_size(), given["num_layers"]
    weights = sum(weight.numel() for weight in given["weight"]) * itemsize
    states = _steps(given) * given["hidden_size"] * directions * itemsize * _GATES[mode]
    inputs = _steps(given) * samples.shape[-1] * itemsize
    share = _FIT[itemsize if itemsize == 2 else 4, mode]
    fitted = share[0] * weights + share[1] * states + share[2] * inputs
    return int(fitted) + layers * directions * _FOR_PRODUCTS


_FIT: Final = {
    (4, _LSTM): (1.0, 1.06, 5.7),
    (4, _GRU): (0.8, 1.5, 3.3),
    (4, _RELU): (0.0, 4.6, 3.4),
    (4, _TANH): (0.0, 4.6, 3.4),
    (2, _LSTM): (0.9, 1.6, 1.7),
    (2, _GRU): (0.7, 1.7, 3.9),
    (2, _RELU): (0.3, 5.4, 0.4),
    (2, _TANH): (0.3, 5.4, 0.4),
}
"""Shares of the weights, the gates of all steps and the inputs, by bytes of a number and mode.

Half of the 500 layers are within 4 %, single ones up to 40 % larger.
"""
