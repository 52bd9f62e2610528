"""A plan of recomputation: data, to be kept in a file and carried out on a module."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path as File
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from torch import nn

from memprop.errors import InvalidValueError
from memprop.files import write_whole
from memprop.torch.checkpoint.host import LOADED
from memprop.torch.checkpoint.planned import check_copied, operator_of, planned
from memprop.torch.inputs import check_module

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1

Count = Annotated[int, Field(ge=0)]
"""A number of bytes, FLOPs, runs or calls."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """What a plan does with one block of a module.

    Attributes:
        block: its path.
        runs: how often one of its operators runs forward in a step, at most; 0 if it does not run.
        keeps: "all" that its backward reads, "some" of it, or "nothing" but what it is given.
        depth: within how many groups that run again it is, one in the other.
        saved_bytes: what its backward reads of what it makes.
        kept_bytes: how much of that is kept, with what running again needs.
        forward_flops: of its forward.
        recomputed_flops: of what of it runs again.
        offloaded_bytes: how much of what is saved waits in host memory.
    """

    block: str
    runs: Count
    keeps: str
    depth: Count
    saved_bytes: Count
    kept_bytes: Count
    forward_flops: Count
    recomputed_flops: Count
    offloaded_bytes: Count = 0


@dataclass(frozen=True, kw_only=True)
class CheckpointPlan:
    """What of a module's forward pass is computed again in its backward pass.

    Attributes:
        module: the class of the module that it was made for.
        parameters: the names and shapes of that module's parameters.
        again: for operators, by name, the calls that run again, counted from 0 in a forward pass,
            each with the groups in which it does.
        counts: how many calls of these operators a forward pass has.
        peak: live bytes of a whole step, predicted.
        slowdown: the predicted time of a step over that of one that keeps everything.
        recomputed_flops: of all that runs again in a step.
        saved_bytes: what is kept of the forward pass for the backward pass.
        peak_without: live bytes of a step that keeps everything.
        budget: what it was made for, in bytes.
        blocks: what becomes of each block.
        kept: what cannot run again, and why.
        cost: what was held against memory, and what the slow-down is of: "flops" or "seconds".
        estimated: the operators whose seconds are those of a roofline, and were not measured.
        compiled: whether it is for the module as torch.compile runs it.
        offloaded: for operators, by name, the calls whose results wait in host memory, counted from
            0 in a forward pass.
        offloaded_bytes: of all that waits there.
        schema: the version of the file's format.
    """

    module: str
    parameters: tuple[tuple[str, tuple[Count, ...]], ...]
    again: Mapping[str, Mapping[Count, tuple[Count, ...]]]
    counts: Mapping[str, Count]
    peak: Count
    slowdown: Annotated[float, Field(ge=0)]
    recomputed_flops: Count
    saved_bytes: Count
    peak_without: Count = 0
    budget: Count | None = None
    blocks: tuple[Block, ...] = ()
    kept: tuple[str, ...] = ()
    cost: Annotated[str, Field(pattern="^(flops|seconds)$")] = "flops"
    estimated: tuple[str, ...] = ()
    compiled: bool = False
    offloaded: Mapping[str, tuple[Count, ...]] = field(default_factory=dict)
    offloaded_bytes: Count = 0
    schema: int = SCHEMA
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    @property
    def table(self) -> "pd.DataFrame":
        """A row per block; see :class:`Block`."""
        import pandas as pd

        rows = pd.DataFrame([vars(block) for block in self.blocks])
        rows.attrs |= {
            "budget": self.budget,
            "predicted_peak": self.peak,
            "peak_without": self.peak_without,
            "slowdown": self.slowdown,
            "recomputed_flops": self.recomputed_flops,
            "saved_bytes": self.saved_bytes,
            "kept": list(self.kept),
            "cost": self.cost,
            "estimated": list(self.estimated),
            "offloaded_bytes": self.offloaded_bytes,
        }
        return rows

    def apply(self, module: nn.Module) -> nn.Module:
        """A module with the same parameters and buffers whose steps follow the plan.

        Args:
            module: one as the plan was made for; it is not changed.

        Raises:
            InvalidTypeError: it is no module.
            InvalidValueError: it has other parameters, or cannot be copied.
        """
        self._check(module)
        again = {
            operator_of(name): {
                **dict.fromkeys(self.offloaded.get(name, ()), LOADED),
                **self.again.get(name, {}),
            }
            for name in dict.fromkeys([*self.again, *self.offloaded])
        }
        counts = {operator_of(name): count for name, count in self.counts.items()}
        made = planned(module, again, counts)
        object.__setattr__(made, "plan", self)  # no part of the module
        object.__setattr__(made, "checkpoint_plan", self.table)
        return made

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the plan to a file, as JSON."""
        write_whole(path, _ADAPTER.dump_json(self, indent=1))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "CheckpointPlan":
        """Read a plan from a file.

        Raises:
            InvalidValueError: the file is none of a plan; the message says what is wrong in it.
        """
        try:
            data = File(path).read_bytes()
        except (OSError, ValueError) as error:  # the latter for a name with a null byte
            why = getattr(error, "strerror", None) or error
            raise InvalidValueError(f"cannot read a plan from {os.fspath(path)!r}: {why}") from None
        try:
            plan = _ADAPTER.validate_json(data)
            for name in (*plan.again, *plan.offloaded, *plan.counts):
                operator_of(name)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            raise InvalidValueError(
                f"{os.fspath(path)} is no plan of memprop's: {where}: {first['msg']}. "
                "Plans are written by CheckpointPlan.save"
            ) from None
        except (ValueError, AttributeError, RuntimeError):
            raise InvalidValueError(
                f"{os.fspath(path)} names operators that this version of PyTorch does not have: "
                "plan again"
            ) from None
        if plan.schema != SCHEMA:
            raise InvalidValueError(
                f"{os.fspath(path)} has the format {plan.schema}, and this version of memprop "
                f"reads {SCHEMA}: plan again"
            )
        return plan

    def _check(self, module: nn.Module) -> None:
        check_module(module)
        check_copied(module)
        own = dict(parameters_of(module))
        planned_for = dict(self.parameters)
        for name in (*planned_for, *own):
            if own.get(name) != planned_for.get(name):
                raise InvalidValueError(
                    f"the plan was made for a {self.module} whose parameter {name} "
                    f"{_shaped(planned_for.get(name))}, and that of this {type(module).__name__} "
                    f"{_shaped(own.get(name))}: plan again for this module"
                )


def _shaped(shape: tuple[int, ...] | None) -> str:
    return "does not exist" if shape is None else f"has the shape {shape}"


def parameters_of(module: nn.Module) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """The names and shapes of the parameters of a module."""
    return tuple((name, tuple(one.shape)) for name, one in module.named_parameters())


_ADAPTER: Any = TypeAdapter(CheckpointPlan)
