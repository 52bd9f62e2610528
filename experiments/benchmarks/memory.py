"""The peak of a step against PyTorch's and JAX's: by the kernel, and by what each says itself."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
import pandas as pd

from experiments.benchmarks.contenders.problem import widths
from experiments.benchmarks.contest import Contest
from experiments.benchmarks.contestant import ContenderFailed
from experiments.benchmarks.effort import Effort, Shape, arguments, cells, columns, moment
from experiments.benchmarks.lineup import ENGINE, PEERS, Contender, contender
from experiments.benchmarks.section import Section, Verdict
from memprop.engine.step import simulate
from memprop.models.mlp import MLP
from memprop.probes.kernel import ENVIRONMENT
from memprop.traces.trace import Trace
from memprop.units import format_bytes

ARENA: Final = f"{ENGINE}, arena"
HEAP: Final = f"{ENGINE}, heap"
ALLOCATORS: Final = MappingProxyType({ARENA: "arena", HEAP: "heap"})
SLACK_BYTES: Final = 256 * 1024
"""The kernel counts the pages of a process on each core by itself, 32 at a time (percpu_counter in
its source), so on two cores its mark may be so far off."""

TEXT: Final = f"""\
How much more memory the process has at the peak of a step than just before it: parameters, samples
and the optimizer's state were there, gradients, activations and scratch were not. *Kernel* is the
high-water mark of resident memory (VmHWM) over VmRSS in a process of its own on one thread, in
which the same step has run before and let go of everything, with large blocks mapped and unmapped
one by one (`MALLOC_MMAP_THRESHOLD_`) and free memory handed back. memprop's step is prepared anew,
so that its arena counts, and the copy in it of the samples. *Own* is each one's own account:
memprop's ledger; what PyTorch's CPU allocator handed out, by torch.profiler; results and scratch of
the compiled step, by XLA. By the kernel, differences up to {SLACK_BYTES // 1024} KiB say nothing:
its counters are no finer.
"""


@dataclass(frozen=True)
class Weighed:
    """A step's growth in bytes, by the kernel and by its own account; ``note`` if it failed."""

    shape: Shape
    update: str | None
    name: str
    kernel: int | None = None
    own: int | None = None
    note: str = ""


def run(effort: Effort) -> Section:
    """Weigh every step of ``effort`` under every contender, each in a process of its own."""
    found = [weighed for name in (ARENA, HEAP, *PEERS) for weighed in _all_steps(name, effort)]
    return section(found)


def _all_steps(name: str, effort: Effort) -> Iterator[Weighed]:
    allocator = ALLOCATORS.get(name)
    who = contender(ENGINE if allocator else name, 1, ENVIRONMENT)
    with Contest([who]) as contest:
        for update, shape in effort.steps():
            print(f"memory: {name}, {shape}, update {update}", file=sys.stderr)
            try:
                if allocator:
                    sizes = _engine(contest, who, shape, update, allocator)
                else:
                    sizes = _peer(contest, who, shape, update)
            except ContenderFailed as failure:
                yield Weighed(shape, update, name, note=str(failure))
            else:
                yield Weighed(shape, update, name, *sizes)


def _engine(
    contest: Contest, who: Contender, shape: Shape, update: str | None, allocator: str
) -> tuple[int | None, int]:
    step = {**arguments(shape, update), "allocator": allocator, "anew": True}
    contest.ask(who, "prepare", **step)
    return contest.ask(who, "growth"), ledger_bytes(shape, update)


def _peer(
    contest: Contest, who: Contender, shape: Shape, update: str | None
) -> tuple[int | None, int]:
    contest.ask(who, "prepare", **arguments(shape, update))
    return contest.ask(who, "growth"), contest.ask(who, "own")


def ledger_bytes(shape: Shape, update: str | None) -> int:
    """The ledger's peak without parameters, optimizer state and samples."""
    model = MLP(widths(shape.depth, shape.width))
    trace = simulate(model, shape.batch, optimizer=update, update=moment(update))
    return growth_bytes(trace)


def growth_bytes(trace: Trace) -> int:
    """The largest live bytes less those that live when the first operator begins."""
    started = int(np.argmax(trace.events.operator >= 0))
    return trace.peak - int(trace.live.total[started - 1])


def section(found: list[Weighed]) -> Section:
    """The report of what was weighed."""
    return Section(
        title="Memory of a step",
        text=TEXT,
        numbers=pd.DataFrame([_numbers(each) for each in found]),
        cells=pd.DataFrame(_cells(found)),
        verdicts=verdicts(found),
    )


def verdicts(found: list[Weighed]) -> tuple[Verdict, ...]:
    """Whether the engine needs no more than a peer on any row, by the kernel and by own word."""
    return tuple(_no_more(found, name, account) for name in PEERS for account in ("kernel", "own"))


def _no_more(found: list[Weighed], peer: str, account: str) -> Verdict:
    ours, theirs = _by_step(found, ARENA, account), _by_step(found, peer, account)
    more = {step: ours[step] - theirs[step] for step in ours.keys() & theirs.keys()}
    target = f"no more than {peer}, by {'the kernel' if account == 'kernel' else 'its own account'}"
    if not more:
        return Verdict(target, "not measured", None)
    slack = SLACK_BYTES if account == "kernel" else 0
    met = sum(difference <= slack for difference in more.values())
    worst = max(more.values())
    text = f"{format_bytes(abs(worst))} {'more' if worst > 0 else 'less'} at worst"
    return Verdict(target, f"{text}; met by {met} of {len(more)}", met == len(more))


def _by_step(found: list[Weighed], name: str, account: str) -> dict[tuple[Shape, str | None], int]:
    pairs = (((w.shape, w.update), getattr(w, account)) for w in found if w.name == name)
    return {step: size for step, size in pairs if size is not None}


def _numbers(each: Weighed) -> dict[str, object]:
    return {
        **columns(each.shape, each.update),
        "contender": each.name,
        "kernel_bytes": each.kernel,
        "own_bytes": each.own,
        "note": each.note,
    }


def _cells(found: list[Weighed]) -> list[dict[str, str]]:
    rows: dict[tuple[Shape, str | None], dict[str, str]] = {}
    for each in found:
        row = rows.setdefault((each.shape, each.update), cells(each.shape, each.update))
        row[each.name] = each.note or f"{_shown(each.kernel)}, own {_shown(each.own)}"
    return list(rows.values())


def _shown(size: int | None) -> str:
    return "unknown" if size is None else format_bytes(size)
