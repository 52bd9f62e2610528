"""The ledger of a step: every operator that PyTorch dispatches, what it makes and what it reads."""

import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any, Final

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode

from memprop.torch.record.again import Ran, noted
from memprop.torch.record.communication import Exchange
from memprop.torch.record.flops import flops_of
from memprop.torch.record.held import held_by_graph
from memprop.torch.record.modules import layer_of
from memprop.torch.record.operators import Operators
from memprop.torch.record.ours import asked_device, fake_mode
from memprop.torch.record.parts import any_wraps, parts, wraps
from memprop.torch.record.phases import Phases
from memprop.torch.record.places import device_of
from memprop.torch.record.resizes import all_of, told_of_resizes
from memprop.torch.record.schema import operands, tensors, with_lengths_as_numbers, written
from memprop.torch.record.scratch import NO_SCRATCH, Pretence, Scratch
from memprop.torch.record.storages import GIVEN, Moment, Origin, Storages, home_of
from memprop.torch.record.sums import is_sum
from memprop.traces.recorder import Recorder

_BORN_AS = {
    "setup": "input",
    "data": "input",
    "forward": "activation",
    "loss": "activation",
    "evaluation": "activation",
    "backward": "activation_gradient",
    "update": "workspace",
}
"""The category of what an operator makes, unless more is learned of it later."""

_RESIZE: Final = torch.ops.aten.resize_.default


class Ledger(TorchDispatchMode):
    """Writes down what happens inside ``with ledger:``.

    The mode sits below autograd and sees every operator of the forward pass, the backward pass and
    the optimizer, on real and on fake tensors alike. What a kernel allocates for itself and lets
    go of stays inside the kernel and is not seen.

    Args:
        recorder: where it is written down.
        operators: tells which operator runs.
        phases: the part of the step that runs.
        timed: whether events have times.
        found: called with each leaf that learns and that nobody introduced, to do it.
        named: gives the name of any other tensor that nobody introduced.
        pretence: the device that a simulated step pretends to run on; ``None`` if it runs where its
            tensors are.

    Attributes:
        storages: the buffers that are alive.
        sums: the events that allocate a sum of gradients; see :mod:`memprop.torch.record.sums`.
        found_late: the events that introduce what was there before the step began.
        unknown: operators whose kernels on the pretended device nothing is known of.
    """

    def __init__(
        self,
        recorder: Recorder,
        operators: Operators,
        phases: Phases,
        *,
        timed: bool,
        found: Callable[[torch.Tensor], None],
        named: Callable[[torch.Tensor], str],
        pretence: Pretence | None = None,
    ) -> None:
        super().__init__()
        self.storages = Storages(
            recorder,
            self.now,
            None if pretence is None else self._log_appearance,
            None if pretence is None else pretence.log.resized,
        )
        self.sums: list[int] = []
        self.found_late: list[int] = []
        self.unknown: set[str] = set()
        self._recorder = recorder
        self._operators = operators
        self._phases = phases
        self._step = 0
        self._timed = timed
        self._first = True
        self._found, self._named = found, named
        self._pretence = pretence
        self._finds = False
        self._start = time.perf_counter_ns()
        self._operator = -1
        self._read: set[int] = set()
        self._variables: dict[tuple[int, str], int] = {}
        self._made: list[weakref.ref[torch.Tensor]] = []
        self._exchange = Exchange(recorder, self.storages)
        self._block = ExitStack()
        self._fakes: Any = None

    def __enter__(self) -> "Ledger":
        self._fakes = fake_mode()
        self._block.enter_context(told_of_resizes(self._resized))
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        noted(None)
        self._block.close()

    def now(self) -> Moment:
        """Where the step is."""
        at = time.perf_counter_ns() - self._start if self._timed else -1
        return Moment(self._phases.name, self._operator, at)

    def begin_step(self, recorder: Recorder, step: int, *, first: bool) -> None:
        """Write into another recorder from now on.

        Args:
            recorder: of the step that begins.
            step: its number.
            first: whether the step before it was not recorded, so that what is found in this one
                may be older.
        """
        self._recorder, self._step, self._first = recorder, step, first
        self._start = time.perf_counter_ns()
        self._operator = -1
        self.sums, self.found_late, self.unknown = [], [], set()
        self._read.clear()
        self._variables.clear()
        self._made.clear()
        self._exchange = Exchange(recorder, self.storages)
        alive = {storage.origin.step for storage, _ in self.storages.alive()}
        self._operators.begin_step(recorder, step, alive | {step - 1})
        self.storages.begin_step(recorder)

    def register(self, tensor: torch.Tensor, name: str, category: str) -> int | None:
        """Introduce what is there before the step, or what an operator finds that nobody made.

        Returns:
            The number of its variable; ``None`` if its storage was known.
        """
        *more, tensor = parts(tensor)
        for part in more:
            self.register(part, name, category)
        if not _has_memory(tensor) or self.storages.get(tensor) is not None:
            return None
        event, finds = len(self._recorder), self._finds
        # Of what a step finds that follows a recorded one, all that is not the model's is new.
        new = not (self._first or self._finds)
        variable = self._new(tensor, name, category, "", self._operators.line if new else "")
        origin = Origin(self._step, "data") if new else GIVEN
        self.storages.add(tensor, variable, given=True, origin=origin)
        if finds:
            self.found_late.append(event)
        return variable

    @contextmanager
    def finding(self) -> Iterator[None]:
        """What is introduced inside the block was there before the step began."""
        before, self._finds = self._finds, self._phases.now != "setup"
        try:
            yield
        finally:
            self._finds = before

    def reclassify(self, tensor: torch.Tensor, name: str, category: str) -> None:
        """Say what a tensor that an operator made turned out to be."""
        *more, tensor = parts(tensor)
        for part in more:
            self.reclassify(part, name, category)
        if not _has_memory(tensor):
            return
        storage = self.storages.get(tensor)
        if storage is None:
            self.register(tensor, name, category)
        elif self._recorder.variables[storage.variable].category not in (category, "parameter"):
            self._recorder.rename(storage.variable, name=name, category=category)

    def __len__(self) -> int:
        """How many events there were."""
        return len(self._recorder)

    def name_of(self, tensor: torch.Tensor) -> str | None:
        """The name of the variable in the storage of a tensor; ``None`` if it is not known."""
        variable = self.variable_of(parts(tensor)[-1])
        return None if variable is None else self._recorder.variables[variable].name

    def variable_of(self, tensor: torch.Tensor) -> int | None:
        """The variable in the storage of a tensor; ``None`` if it is not known."""
        storage = self.storages.get(tensor)
        return None if storage is None else storage.variable

    def begin(self, part: str) -> None:
        """Begin a part of the step that is told."""
        self._phases.tell(part)
        self._operator = -1 if part == "end" else self._operator

    def backward_begins(self, roots: Iterable[torch.Tensor]) -> None:
        """Mark the variables that autograd's graph holds now, before a backward pass.

        Args:
            roots: where it starts.
        """
        made = (reference() for reference in self._made)
        roots = [*roots, *(tensor for tensor in made if tensor is not None)]
        self._made.clear()
        graph = held_by_graph(root for root in roots if root.grad_fn is not None)
        for tensor in graph.saved:  # a number that C++ code made a tensor of was not seen before
            self.register(tensor, "constant", "activation")
        tensors_held = (part for held in (*graph.saved, *graph.others) for part in parts(held))
        found = map(self.storages.get, _strided(tensors_held))
        kept = {storage.variable for storage in found if storage is not None}
        for variable in self.storages.variables():
            if self._recorder.variables[variable].kept is not True and (
                graph.complete or variable in kept
            ):
                self._recorder.rename(variable, kept=variable in kept)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if (device := asked_device(func, args)) is not None:
            return device
        kwargs = kwargs or {}
        if any_wraps(types):
            return NotImplemented  # it comes again with what they wrap
        if fake_mode() is not self._fakes:  # DTensor asks fakes of its own for shapes
            return func(*args, **kwargs)
        func, args = with_lengths_as_numbers(func, args)
        result = func(*args, **kwargs)
        if self._counts(func, args):
            given = operands(args, kwargs)
            read, changed = _strided(given), written(func, args, kwargs)
            self._operators.begin()
            self._phases.see(read, self._made_as(read))
            self._find_sparse(given)
            scratch = self._scratch_of(read, func, args, kwargs, result)
            self._exchange.learn(func, args, kwargs)
            noted = self._note(func, read, changed, result, scratch)
            self._exchange.learn(func, args, kwargs)  # of what it was the first to be given
            if noted and scratch.unknown:
                self.unknown.add(func.name())
            # FLOPs are those of one run, so what a checkpoint recomputes does not count.
            if noted and not self._phases.recomputes:
                self._recorder.add_flops(self._operator, flops_of(func, args, kwargs, result))
        return result

    def _counts(self, func: Any, args: Any) -> bool:
        """Whether an operator is one of the step."""
        if func.namespace == "prim" or self._phases.ended:  # "prim" has questions about a tensor
            return False
        return not self._exchange.is_inside_gloo(func, args)

    def _scratch_of(self, read: list[torch.Tensor], *call: Any) -> Scratch:
        """What the kernel that ran takes for itself, on the device that is pretended."""
        if self._pretence is None:
            return NO_SCRATCH
        scratch = self._pretence.scratch(*call)
        on_cpu = scratch is not NO_SCRATCH and all(map(self._pretence.host_of, read))
        return NO_SCRATCH if on_cpu else scratch

    def _made_as(self, read: Iterable[torch.Tensor]) -> Iterator[tuple[str, str]]:
        """Category and part of the step of those of these tensors that are known."""
        for storage in filter(None, map(self.storages.get, read)):
            yield self._recorder.variables[storage.variable].category, storage.origin.part

    def _note(
        self,
        func: Any,
        operands: list[torch.Tensor],
        written: list[torch.Tensor],
        result: Any,
        scratch: Scratch,
    ) -> bool:
        """Write down what an operator did; whether it did more than to make a view."""
        made, part = _tensors(result), self._phases.now
        forward = part in ("forward", "loss")
        if forward and not self._phases.backward:
            self._made.extend(map(weakref.ref, made))
        if forward or self._phases.makes_graph:
            self._operators.saw()
        if func.name() == "aten::lift_fresh":  # torch.tensor(...) made its tensor unseen
            for tensor in made:
                self.register(tensor, "constant", _BORN_AS[part])
        else:
            # An operand that comes back was there before if it was handed over to be written.
            self._find(
                operand
                for operand in operands
                if not _is_among(operand, made) or _is_among(operand, written)
            )
        born = self._born(made)
        if not born and not written and not _is_sparse(result):
            return False  # a view
        self._begin(func)
        if len(born) == 1 and is_sum(func, operands) and self._waits(operands[0]):
            self.sums.append(len(self._recorder))
        self._allocate(born, scratch)
        self._exchange.made(func, born)
        self._reads(func, operands)
        if forward:
            for place, tensor in enumerate(written):
                self._overwrite(tensor, f"operand {place}")
        return True

    def _born(self, made: Iterable[torch.Tensor]) -> list[torch.Tensor]:
        """One result for each new storage: the gradients of cuDNN's LSTM share a single one."""
        new: dict[int, torch.Tensor] = {}
        for tensor in made:
            if self.storages.get(tensor) is None:
                new.setdefault(home_of(tensor)._cdata, tensor)
        return list(new.values())

    def _resized(self, storage: torch.UntypedStorage) -> None:
        """A storage was made larger or smaller, which is no operator but is written down as one."""
        self._operators.begin()
        self._phases.see((), ())
        self._begin(_RESIZE)
        everything = all_of(storage)
        if not self.storages.resize(everything):
            self.storages.add(everything, self._variable(everything, "result 0"))

    def _find(self, operands: Iterable[torch.Tensor]) -> None:
        """Introduce operands that nobody made: they were there before the step."""
        for tensor in operands:
            if self.storages.get(tensor) is not None:
                continue
            if tensor.is_leaf and tensor.requires_grad:
                with self.finding():
                    self._found(tensor)
            else:
                with self.finding() if self._first else nullcontext():
                    self.register(tensor, self._named(tensor), "input")

    def _find_sparse(self, operands: Iterable[torch.Tensor]) -> None:
        """Introduce the parts of sparse operands that no operator of the step made."""
        for tensor in operands:
            given = tensor.layout == torch.sparse_coo and tensor.is_leaf
            if given and not self._phases.backward:
                with self.finding() if self._first else nullcontext():
                    self.register(tensor, self._named(tensor), "input")

    def _begin(self, func: Any) -> None:
        """Learn which operator runs."""
        before = self._operator
        if self._phases.recomputes:
            self._operator = self._operators.again(func)
        elif self._phases.backward:
            self._operator = self._operators.backward()
        else:
            self._operator = self._operators.forward(func)
            noted(Ran(id(self._recorder), self._operator))
        if self._operator != before:
            self._read.clear()

    def _waits(self, tensor: torch.Tensor) -> bool:
        """Whether the engine holds this gradient until the next for the same value is there."""
        storage = self.storages.get(tensor)
        if self._phases.now != "backward" or storage is None or storage.number in self._read:
            return False
        if self._recorder.variables[storage.variable].category != "activation_gradient":
            return False
        before = storage.maker not in (-1, self._operator)
        return before or self._operators.feeds_one_twice()

    def _reads(self, func: Any, operands: list[torch.Tensor]) -> None:
        """Note each operand once for each operator; one whose shape alone counts is not read."""
        if "_like" in func.name() or "new_" in func.name():
            return
        for tensor in operands:
            storage = self.storages.get(tensor)
            if storage is not None and isinstance(tensor, nn.Parameter):
                self._exchange.learn_parameter(storage)
            if storage is not None and storage.number not in self._read:
                self._read.add(storage.number)
                self.storages.read(storage)

    def _log_appearance(self, tensor: torch.Tensor, storage: int, given: bool) -> None:
        if self._pretence is not None and self._pretence.host_of(tensor) is None:
            self._pretence.log.saw(tensor, storage, given=given)

    def _allocate(self, born: list[torch.Tensor], scratch: Scratch) -> None:
        """Note the results of the operator that runs, and what its kernel takes for itself."""
        results = list(enumerate(born))
        if scratch is NO_SCRATCH:
            self._add_results(results)
            return
        if scratch.last_first:
            results.reverse()
        early = len(results) - scratch.late if scratch.stages else len(results)
        self._add_results(results[:early])
        self._keep_for_libraries(scratch)
        late = results[early:]
        for sizes in scratch.stages:
            with self._used(sizes, guessed=scratch.guessed):
                if scratch.while_used:
                    self._add_results(late)
                    late = []
            self._add_results(late)
            late = []

    def _add_results(self, results: list[tuple[int, torch.Tensor]]) -> None:
        for place, tensor in results:
            variable = self._variable(tensor, f"result {place}")
            self.storages.add(tensor, variable, origin=self._origin())

    def _origin(self) -> Origin:
        operator = self._recorder.operators[self._operator].name
        return Origin(self._step, self._phases.now, operator)

    def _keep_for_libraries(self, scratch: Scratch) -> None:
        thread = "backward" if torch._C._current_graph_task_id() != -1 else "forward"
        for library, size in scratch.kept:
            if self._pretence is not None:
                self._pretence.log.keep(f"{library} {thread}", size)

    @contextmanager
    def _used(self, sizes: tuple[int, ...], *, guessed: bool) -> Iterator[None]:
        """Buffers that the kernel of the operator that runs has inside the block."""
        with ExitStack() as stack:
            if self._pretence is not None:
                stack.enter_context(self._pretence.log.used(sizes))
            stack.enter_context(self.storages.used(self._scratch_variables(sizes, guessed=guessed)))
            yield

    def _scratch_variables(self, sizes: tuple[int, ...], *, guessed: bool) -> list[int]:
        operator = self._recorder.operators[self._operator]
        return [
            self._recorder.variable(
                f"{operator.name} (scratch)",
                "workspace",
                (size,),
                "uint8",
                size,
                site=operator.site,
                layer=operator.layer,
                guessed=guessed,
                device="" if self._pretence is None else self._pretence.device,
            )
            for size in sizes
        ]

    def _overwrite(self, tensor: torch.Tensor, place: str) -> None:
        """A new value that replaces an activation, if all of its storage was written."""
        storage = self.storages.get(tensor)
        if storage is None or self._recorder.variables[storage.variable].category != "activation":
            return
        if tensor.numel() * tensor.element_size() == storage.bytes:
            self.storages.overwrite(tensor, self._variable(tensor, place), self._origin())

    def _variable(self, tensor: torch.Tensor, place: str) -> int:
        """The variable for what the operator makes; the same again if it is recomputed."""
        key = (self._operator, place)
        known = self._variables.get(key)
        if self._phases.recomputes and known is not None and not self.storages.holds(known):
            variable = self._recorder.variables[known]
            if (variable.shape, variable.dtype) == (tuple(tensor.shape), _dtype(tensor)):
                return known
        operator = self._recorder.operators[self._operator]
        category = _BORN_AS[self._phases.now]
        self._variables[key] = self._new(
            tensor, operator.name, category, operator.site, self._operators.line
        )
        return self._variables[key]

    def _new(self, tensor: torch.Tensor, name: str, category: str, path: str, line: str) -> int:
        return self._recorder.variable(
            name,
            category,
            tuple(tensor.shape),
            _dtype(tensor),
            home_of(tensor).nbytes(),
            site=path,
            layer=layer_of(path),
            device=self._device_of(tensor),
            line=line,
        )

    def _device_of(self, tensor: torch.Tensor) -> str:
        if self._pretence is not None:
            return self._pretence.host_of(tensor) or self._pretence.device
        if tensor.device.type == "meta" and self._fakes is not None:
            # The bare storage of fake tensors, which does not know where these claim to be.
            parameters = (v for v in self._recorder.variables if v.category == "parameter")
            return next((v.device for v in parameters), "cpu")
        return device_of(tensor)


def _strided(found: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    """The tensors that have a storage of their own; a sparse tensor has those of its parts."""
    return [tensor for tensor in found if _has_memory(tensor)]


def _has_memory(tensor: torch.Tensor) -> bool:
    """Whether a tensor has a storage, which one on "meta" has in a simulation only."""
    if tensor.layout != torch.strided:
        return False
    # A fake tensor goes through all modes to tell its device, so its class comes first.
    return isinstance(tensor, FakeTensor) or not tensor.is_meta


def _tensors(tree: Any) -> list[torch.Tensor]:
    """The tensors that have the memory of those in a tree."""
    found = (tree,) if isinstance(tree, torch.Tensor) else tensors(tree)
    return _strided(part for one in found for part in _memory_of(one))


def _memory_of(tensor: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return parts(tensor) if wraps(type(tensor)) else (tensor,)


def _is_among(tensor: torch.Tensor, others: Iterable[torch.Tensor]) -> bool:
    return any(tensor is other for other in others)


def _is_sparse(result: Any) -> bool:
    return isinstance(result, torch.Tensor) and result.layout != torch.strided


def _dtype(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
