"""Results that must have buffers of their own: gradients, and what comes out of a branch."""

from collections.abc import Sequence
from typing import Any

from memprop.jax.program import Block, Operand, Scope, Step, present
from memprop.jax.values import value_of


def owned(block: Block, avals: Sequence[Any], scope: Scope | None = None) -> Block:
    """``block`` with every output in a storage of its own.

    One that was made outside of the block, is a literal, or lies in the storage of another output
    is copied at the end.

    Args:
        block: steps and their outputs.
        avals: the abstract types of the outputs.
        scope: where the block stands; outside of everything if left out.
    """
    scope = scope or Scope()
    free = {value for step in block.steps for value in step.makes if value.base is None}
    steps, outputs = list(block.steps), list[Operand]()
    for output, aval in zip(block.outputs, avals, strict=True):
        if output is not None and output.storage in free:
            free.remove(output.storage)
            outputs.append(output)
            continue
        copy = value_of(aval, "copy", scope=scope, scratch=scope.loop)
        steps.append(
            Step(
                operator=f"{scope.prefix}copy",
                site=scope.site,
                reads=present([output]),
                makes=(copy,),
                mark=scope.mark,
                recomputed=scope.recomputed,
                flops=0,
            )
        )
        outputs.append(copy)
    return Block(steps, outputs)
