"""What a rule says of operands of given shapes: worked out once, however often it is asked.

A deep network applies few rules to few shapes, thousands of times each.
"""

from functools import lru_cache
from typing import Any, NamedTuple

from memprop.graph.affine import Affine
from memprop.graph.rules import ArraySpec, rule

Places = tuple[tuple[int, int], ...]


class Signature(NamedTuple):
    """A rule applied to operands of which shape and dtype alone are known.

    Attributes:
        results: shape and dtype of each result.
        scratch: shape and dtype of each part of the workspace.
        flops: of one run.
        updates: the results that share the storage of an operand by their very meaning: pairs of a
            place among results and workspace, and a place among the operands.
        in_place: those that may where the operand dies: the rule allows it, and both have the
            same dtype and number of elements.
    """

    results: tuple[ArraySpec, ...]
    scratch: tuple[ArraySpec, ...]
    flops: Affine
    updates: Places
    in_place: Places


@lru_cache(maxsize=1 << 14)
def signature(
    name: str, operands: tuple[ArraySpec, ...], attributes: tuple[tuple[str, Any], ...]
) -> Signature:
    """The signature of the rule ``name`` for ``operands`` and the constants of its kernel.

    Raises:
        GraphError: the rule does not take such operands.
        UnknownNameError: there is no such rule.
    """
    definition, constants = rule(name), dict(attributes)
    ports = definition.ports(len(operands))
    results = definition.infer(*operands, **constants)
    scratch = definition.infer_scratch(*operands, **constants)
    targets = definition.writes + definition.scratch
    made = results + scratch

    def places(pairs: tuple[tuple[str, str], ...]) -> Places:
        # Of the operands at one port the last one is meant.
        last = {port: place for place, port in enumerate(ports)}
        return tuple((targets.index(target), last[operand]) for target, operand in pairs)

    fitting = ((t, o) for t, o in places(definition.in_place) if made[t].fits(operands[o]))
    return Signature(
        results=results,
        scratch=scratch,
        flops=definition.flops(*operands, **constants),
        updates=places(definition.updates),
        in_place=tuple(fitting),
    )
