"""A chain read off the live bytes of a step that keeps everything.

The stages run one after the other, forward and then backward. The bytes that a stage saves are the
rise in live bytes over its forward; its workspace is what it needs on top. What its backward leaves
behind are the gradients of its parameters.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from memprop.schedules.chain import Chain


class Part(NamedTuple):
    """Live bytes before some operators, at their peak, and after them."""

    before: int
    peak: int
    after: int


def measured_chain(
    forward: Sequence[Part],
    backward: Sequence[Part],
    *,
    inputs: Sequence[int],
    output: int,
    forward_workspace: Sequence[int],
    forward_cost: Sequence[float],
    backward_cost: Sequence[float],
) -> Chain:
    """The chain of n stages that ran as ``forward`` says, and then back as ``backward`` says.

    Args:
        forward: live bytes around the full forward of each stage, stage 1 first.
        backward: live bytes around the backward of each stage, stage 1 first too.
        inputs: the size of each stage's input, a_0 to a_(n-1).
        output: the size of a_n.
        forward_workspace: bytes that a forward needs beyond its input and output, saving nothing.
        forward_cost: of each stage, in any unit.
        backward_cost: of each stage, in the same unit.
    """
    outputs = [*inputs[1:], output]
    saved = [max(f.after - f.before, size) for f, size in zip(forward, outputs, strict=True)]
    saving = [max(f.peak - f.before - s, 0) for f, s in zip(forward, saved, strict=True)]
    # What lies below a stage while its backward runs: what was there before the chain, a_0
    # included, and what the stages before it saved. The rest is its own, or was left behind.
    below = [forward[0].before + before for before in accumulate([0, *saved[:-1]])]
    left_up_to = [
        b.after - under - (gradient if place else 0)  # d_0 takes the place of a_0
        for place, (b, under, gradient) in enumerate(zip(backward, below, inputs, strict=True))
    ]
    left_before = [*left_up_to[1:], 0]
    needed = [
        b.peak - under - s - gradient - up_to
        for b, under, s, gradient, up_to in zip(
            backward, below, saved, outputs, left_up_to, strict=True
        )
    ]
    return Chain(
        forward_cost=forward_cost,
        backward_cost=backward_cost,
        input_bytes=inputs[0],
        output_bytes=outputs,
        saved_bytes=saved,
        forward_workspace=forward_workspace,
        saving_workspace=saving,
        backward_workspace=[max(extra, 0) for extra in needed],
        retained_bytes=[
            up_to - before for up_to, before in zip(left_up_to, left_before, strict=True)
        ],
    )
