"""The one recorder under all that traces PyTorch: a step of a module, a function, any loop."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch

from memprop.errors import MempropError
from memprop.terms import PERSISTENT
from memprop.torch.record.backwards import Backwards
from memprop.torch.record.given import Given
from memprop.torch.record.late import given_at_setup
from memprop.torch.record.ledger import Ledger
from memprop.torch.record.lines import Lines
from memprop.torch.record.modules import Modules
from memprop.torch.record.names import Names
from memprop.torch.record.operators import Operators
from memprop.torch.record.ours import Ours
from memprop.torch.record.phases import Phases
from memprop.torch.record.scratch import Pretence
from memprop.torch.record.sums import in_place, sums_in_place
from memprop.torch.record.unused import UnusedGraphs
from memprop.traces.about import About
from memprop.traces.devices import by_device
from memprop.traces.recorder import Recorder
from memprop.traces.steps import Survivor
from memprop.traces.trace import Trace

_LEFT_ON_PURPOSE = (*PERSISTENT, "communication")


class Recording:
    """Writes down what PyTorch does, one step after the other.

    Args:
        timed: whether events have times.
        names: finds what the user's program calls its modules and optimizers.
        lines: finds the line of the user's program that makes a variable.
        pretence: the device that a simulated step pretends to run on.
    """

    def __init__(
        self,
        *,
        timed: bool,
        names: Names,
        lines: Lines,
        pretence: Pretence | None = None,
    ) -> None:
        self._recorder = Recorder()
        self._pretence = pretence
        self._timed = timed
        self.lines = lines
        self.step = 0
        """The number of the step."""
        self.unused = UnusedGraphs(self.lines)
        self.backwards = Backwards(self._backward_begins)
        self.ours = Ours(lambda: self.backwards.running)
        self.modules = Modules(
            lambda *found: self.given.found_module(*found), names, self.unused, self.ours
        )
        self.phases = Phases(self.modules, self.backwards)
        operators = Operators(self._recorder, self.modules, self.phases, self.lines, self.unused)
        self.ledger = Ledger(
            self._recorder,
            operators,
            self.phases,
            timed=timed,
            found=lambda parameter: self.given.found_parameter(parameter),
            named=lambda tensor: names.of(tensor, "constant"),
            pretence=pretence,
        )
        self.given = Given(self.ledger, operators, self.phases, names, self.ours)
        if pretence is not None:
            pretence.log.begin(self._recorder.__len__)

    def _backward_begins(self, roots: Any) -> None:
        if self.phases.backward_begins():
            self.ledger.backward_begins(roots)

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Follow modules, gradients, backward passes and optimizers inside the block."""
        self.ours.begin()
        with self.given.followed(), self.backwards.watched(), self.modules.watched():
            yield

    def __len__(self) -> int:
        """How many events there were in this step."""
        return len(self._recorder)

    def begin_step(self, number: int, *, first: bool = False) -> None:
        """A step begins; what is alive is there before it.

        Args:
            number: of the step.
            first: whether the one before it was not recorded.
        """
        self.step = number
        self._recorder = Recorder()
        self.phases.begin_step()
        self.ledger.begin_step(self._recorder, number, first=first)

    def trace(self, outputs: Mapping[str, Any] | None = None, **about: Any) -> Trace:
        """What was written down of this step.

        Args:
            outputs: of the step.
            about: what is known of the step; what the recorder knows itself is added.
        """
        seen = self._recorder.trace(self._about(**about), outputs)
        same = sums_in_place(seen, self.ledger.sums)
        trace = in_place(seen, same)
        if self._pretence is not None:
            log = self._pretence.log
            log.end(same)
            trace = replace(trace, requests=log.requests(len(trace.events)))
        return trace

    def partial(self) -> Trace | None:
        """What was written down of a step that was broken off; ``None`` if that is nothing."""
        if not len(self._recorder):
            return None
        try:
            seen = self._recorder.trace(self._about(**self.seen()))
            return self.ordered(in_place(seen, sums_in_place(seen, self.ledger.sums)))
        except (MempropError, LookupError, ValueError):
            return None  # an interrupt came between two events that belong together

    def ordered(self, trace: Trace) -> Trace:
        """The trace with what was found late at its beginning, and a part for each device."""
        return by_device(given_at_setup(trace, self.ledger.found_late))

    def survivors(self) -> list[Survivor]:
        """What is alive of what earlier steps made, but for what a model is trained with.

        A step in which nothing has run yet is not counted as the latest: the program still holds
        the variables of the one before.
        """
        latest = self.step if self._recorder.operators else self.step - 1
        gradients = self.given.gradient_storages()
        return [
            Survivor(
                step=storage.origin.step,
                bytes=storage.bytes,
                category=variable.category,
                operator=storage.origin.operator.partition("#")[0],
                module=variable.site,
                line=variable.line,
            )
            for storage, variable in self.ledger.storages.alive()
            if 0 <= storage.origin.step < latest
            and variable.category not in _LEFT_ON_PURPOSE
            and storage.number not in gradients
        ]

    def seen(self) -> dict[str, Any]:
        """What can be seen of the program that runs, for ``about``."""
        optimizers = dict.fromkeys(type(one).__name__ for one in self.given.optimizers)
        pretence = self._pretence
        return {
            "device": self._device() if pretence is None else pretence.device,
            "gpu": None if pretence is None else pretence.gpu,
            "model": ", ".join(dict.fromkeys(self.modules.roots)) or None,
            "mode": "train" if self.backwards.count else "inference",
            "optimizer": ", ".join(optimizers) or "none",
        }

    def _device(self) -> str:
        """The device on which most is: the GPU, unless the program uses the CPU alone."""
        there = dict.fromkeys(variable.device for variable in self._recorder.variables)
        return next((device for device in there if device not in ("cpu", "pinned")), "cpu")

    def _about(self, **about: Any) -> About:
        return About(
            framework="torch",
            version=torch.__version__,
            run="real" if self._timed else "simulated",
            unknown_kernels=", ".join(sorted(self.ledger.unknown)) or None,
            **about,
        )


@contextmanager
def recording(
    recorder: Recording,
    introduce: Callable[[], None] = lambda: None,
    observer: Callable[[Ledger], AbstractContextManager[object]] | None = None,
) -> Iterator[None]:
    """Record what happens inside the block, as one step.

    An exception gets what was recorded as its attribute ``trace``.

    Args:
        recorder: what records.
        introduce: introduces what is handed over, before anything runs.
        observer: something else that watches, given the ledger.
    """
    try:
        with ExitStack() as stack:
            stack.enter_context(recorder.hooked())
            introduce()
            stack.enter_context(nullcontext() if observer is None else observer(recorder.ledger))
            stack.enter_context(recorder.ledger)
            yield
            recorder.given.gradients()
    except Exception as error:
        keep_trace(error, recorder.partial())
        raise
    finally:
        recorder.ledger.storages.close()


def keep_trace(error: BaseException, trace: Trace | None) -> None:
    """Hang what was recorded so far on the exception that broke a step off."""
    if trace is None:
        return
    error.trace = trace  # pyright: ignore[reportAttributeAccessIssue]
    error.add_note(
        f"memprop: the step broke off in {trace.operators[-1].name if trace.operators else 'setup'}"
        f" with {int(trace.live.total[-1])} bytes live, {trace.peak} at the peak; "
        "the trace up to there is the attribute `trace` of this exception"
    )
