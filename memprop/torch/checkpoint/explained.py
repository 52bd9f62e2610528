"""A choice of blocks to recompute as a table."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from memprop.torch.checkpoint.as_chain import ModuleChain
from memprop.torch.checkpoint.segments import Part, blocks, times_run

if TYPE_CHECKING:
    import pandas as pd


def table(seen: ModuleChain, parts: Sequence[Part]) -> "pd.DataFrame":
    """A row per block; see :func:`memprop.torch.checkpoint_plan`.

    Blocks that run together share the figures of their stage: they stand in its first row, and
    those of the others are missing.
    """
    import pandas as pd

    runs, keeps, depth = times_run(parts), dict(_keeps(parts)), dict(_depth(parts))
    names = seen.blocks.names
    rows = [
        {"block": names[block], "runs": runs[block], "keeps": keeps[block], "depth": depth[block]}
        for block in range(len(names))
    ]
    stage_of = {unit[0]: stage for stage, unit in enumerate(seen.units)}
    chain = seen.chain
    for column, values in (
        ("saved_bytes", chain.saved_bytes),
        ("output_bytes", chain.output_bytes),
        ("forward_flops", chain.forward_cost),
        ("backward_flops", chain.backward_cost),
    ):
        for block, row in enumerate(rows):
            row[column] = values[stage_of[block]] if block in stage_of else None
    numbers = {name: "Int64" for name in rows[0] if name not in ("block", "keeps")}
    return pd.DataFrame(rows).astype(numbers)


def recomputed_flops(seen: ModuleChain, parts: Sequence[Part]) -> int:
    """FLOPs of the forwards that run again in a step."""
    runs = times_run(parts)
    return sum(
        int(cost) * (runs[unit[0]] - 1)
        for cost, unit in zip(seen.chain.forward_cost, seen.units, strict=False)
    )


def _keeps(parts: Sequence[Part]) -> Iterator[tuple[int, str]]:
    """What each block keeps between forward and backward."""
    for part in parts:
        if isinstance(part, int):
            yield part, "all"
        else:
            first, *others = blocks([part])
            yield first, "input"
            yield from ((block, "nothing") for block in others)


def _depth(parts: Sequence[Part], depth: int = 0) -> Iterator[tuple[int, int]]:
    for part in parts:
        if isinstance(part, int):
            yield part, depth
        else:
            yield from _depth(part.parts, depth + 1)
