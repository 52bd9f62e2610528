"""The buffers that are alive: which variable lives in each, and when each dies."""

import _thread
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import torch

from memprop.traces.events import TracedVariable
from memprop.traces.recorder import Recorder


class Moment(NamedTuple):
    """Now: the phase, the number of the operator (-1 if none runs), nanoseconds (-1 if unknown)."""

    phase: str
    operator: int = -1
    at: int = -1


class Origin(NamedTuple):
    """Where what lives in a buffer comes from.

    Attributes:
        step: the number of the step; -1 for what was there before the first.
        part: of the step, as :class:`memprop.torch.record.phases.Phases` names it.
        operator: by name; "" for what was there before the first step.
    """

    step: int = -1
    part: str = "setup"
    operator: str = ""


GIVEN: Final = Origin()
"""That of what was there before the first step."""


@dataclass(frozen=True)
class Storage:
    """A buffer.

    Attributes:
        number: as the trace counts storages.
        variable: the variable that lives in it.
        bytes: its size.
        maker: the operator that made it; -1 for what was there before.
        alive: a weak reference whose callback tells of its death.
        origin: where the variable comes from.
    """

    number: int
    variable: int
    bytes: int
    maker: int
    alive: weakref.ref
    origin: Origin = GIVEN


class Storages:
    """Every buffer that was seen and is alive.

    A storage, not a tensor, is what takes memory: views, detached tensors and tied parameters
    share one, and it counts once. PyTorch keeps the Python object of a storage as long as the
    storage itself, so that a weak reference tells of its death at the moment it is released.

    Args:
        recorder: where births, deaths and reads are written down.
        now: tells where the step is.
        appeared: called with a tensor in each storage that is new here, the storage's number, and
            whether it was there before the operator that runs.
        resized: called with a tensor in each storage that got another size, and the number of the
            storage from now on.
    """

    def __init__(
        self,
        recorder: Recorder,
        now: Callable[[], Moment],
        appeared: Callable[[torch.Tensor, int, bool], None] | None = None,
        resized: Callable[[torch.Tensor, int], None] | None = None,
    ) -> None:
        self._recorder = recorder
        self._resized = resized
        self._appeared = appeared
        self._now = now
        self._alive: dict[int, Storage] = {}
        self._where: dict[int, int] = {}
        """The key of the storage that each variable lives in, or lived in last."""
        self._count = 0
        self._idle = False

    def begin_step(self, recorder: Recorder) -> None:
        """Write into another recorder from now on, in which all that is alive is introduced."""
        moment = self._now()
        alive: dict[int, Storage] = {}
        for key, storage in list(self._alive.items()):
            old = self._recorder.variables[storage.variable]
            variable = recorder.variable(
                old.name,
                old.category,
                old.shape,
                old.dtype,
                old.bytes,
                site=old.site,
                layer=old.layer,
                device=old.device,
                line=old.line,
            )
            new = replace(storage, number=len(alive), variable=variable, maker=-1)
            recorder.allocate(variable, new.number, new.bytes, *moment)
            alive[key] = new
        # All at once: an interrupt finds the step before or this one, and no mixture.
        dead = [key for key in alive if key not in self._alive]
        self._recorder, self._alive, self._count, self._idle = recorder, alive, len(alive), False
        self._where = {storage.variable: key for key, storage in alive.items()}
        for key in dead:
            self._event(recorder.free, alive.pop(key))

    def rest(self) -> None:
        """Write nothing down until the next step begins."""
        self._idle = True

    def get(self, tensor: torch.Tensor) -> Storage | None:
        """The storage of a tensor, if it is known and still as large as it was."""
        home = home_of(tensor)
        found = self._alive.get(home._cdata)
        if found is not None and found.bytes != home.nbytes():
            self._die(home._cdata)  # resized in place: another buffer
            return None
        return found

    def add(
        self,
        tensor: torch.Tensor,
        variable: int,
        *,
        given: bool = False,
        origin: Origin = GIVEN,
    ) -> None:
        """The storage of ``tensor`` is new, and ``variable`` lives in it.

        Args:
            tensor: any tensor that lives in it.
            variable: its number.
            given: whether it was there before the operator that runs.
            origin: where the variable comes from.
        """
        home, moment = home_of(tensor), self._now()
        if given:
            moment = moment._replace(operator=-1)
        key, size = home._cdata, home.nbytes()
        alive = weakref.ref(home, lambda _: self._died(key))
        storage = Storage(self._count, variable, size, moment.operator, alive, origin)
        self._count += 1
        if self._appeared is not None:
            self._appeared(tensor, storage.number, given)
        # In this order: an interrupt between the two leaves no death of what was never born.
        self._recorder.allocate(variable, storage.number, size, *moment)
        self._where[variable] = key
        self._alive[key] = storage

    @contextmanager
    def used(self, variables: Sequence[int]) -> Iterator[None]:
        """Buffers that the operator that runs has inside the block, each for one variable."""
        used = list(enumerate(variables, start=self._count))
        self._count += len(used)
        sizes = [self._recorder.variables[variable].bytes for variable in variables]
        for (number, variable), size in zip(used, sizes, strict=True):
            self._recorder.allocate(variable, number, size, *self._now())
        yield
        for (number, variable), size in zip(used, sizes, strict=True):
            self._recorder.free(variable, number, size, *self._now())

    def overwrite(self, tensor: torch.Tensor, variable: int, origin: Origin = GIVEN) -> None:
        """The operator that runs wrote a new value, ``variable``, over the storage of a tensor."""
        old = self._alive[_key(tensor)]
        new = replace(old, variable=variable, origin=origin)
        self._where[variable] = _key(tensor)
        self._alive[_key(tensor)] = new
        self._event(self._recorder.allocate, new)
        self._event(self._recorder.free, old)

    def resize(self, tensor: torch.Tensor) -> bool:
        """The storage of a tensor has another size now; whether it was known before.

        Its variable goes on in another buffer, which has no bytes where it was emptied.
        """
        old = self._alive.get(_key(tensor))
        if old is None:
            return False
        self._event(self._recorder.free, old)
        new = replace(old, number=self._count, bytes=home_of(tensor).nbytes())
        self._alive[_key(tensor)] = new
        self._count += 1
        if self._resized is not None:
            self._resized(tensor, new.number)
        self._event(self._recorder.allocate, new)
        return True

    def read(self, storage: Storage) -> None:
        """The operator that runs reads what is in ``storage``."""
        self._event(self._recorder.read, storage)

    def holds(self, variable: int) -> bool:
        """Whether a variable is alive."""
        storage = self._alive.get(self._where.get(variable, -1))
        return storage is not None and storage.variable == variable

    def variables(self) -> set[int]:
        """The variables that are alive."""
        return {storage.variable for storage in self._alive.values()}

    def alive(self) -> list[tuple[Storage, TracedVariable]]:
        """The buffers that are alive, with what lives in them."""
        known = self._recorder.variables
        return [(storage, known[storage.variable]) for storage in self._alive.values()]

    def close(self) -> None:
        """Stop following storages."""
        self._alive.clear()

    def _event(self, kind: Callable[..., None], storage: Storage) -> None:
        kind(storage.variable, storage.number, storage.bytes, *self._now())

    def _died(self, key: int) -> None:
        """The storage was released."""
        try:
            self._die(key)
        except KeyboardInterrupt:
            # Python drops what is raised here, and with it the user's Ctrl-C: it comes again.
            threading.Timer(0.001, _thread.interrupt_main).start()

    def _die(self, key: int) -> None:
        storage = self._alive.pop(key, None)
        if storage is None or self._idle:
            return
        self._event(self._recorder.free, storage)
        # A gradient goes on to the next node; what dies in the node that made it was scratch.
        category = self._recorder.variables[storage.variable].category
        if category == "activation_gradient" and self._now().operator == storage.maker:
            self._recorder.rename(storage.variable, category="workspace")


def stand_for(storage: torch.UntypedStorage, home: torch.UntypedStorage) -> None:
    """Let a storage of fake tensors stand for that of real ones, which it keeps alive."""
    vars(storage)[_HOME] = home_of_storage(home)


def be_replaced(storage: torch.UntypedStorage, other: torch.UntypedStorage) -> None:
    """Let another storage take the place of one from before the step, as long as it lives."""
    vars(storage)[_HOME] = weakref.ref(other)


def be_again(storage: torch.UntypedStorage) -> None:
    """End what :func:`be_replaced` began."""
    vars(storage).pop(_HOME, None)


def home_of(tensor: torch.Tensor) -> torch.UntypedStorage:
    """The storage that a tensor is counted in: its own, or the one that this stands for."""
    return home_of_storage(tensor.untyped_storage())


def home_of_storage(storage: torch.UntypedStorage) -> torch.UntypedStorage:
    """The storage that is counted for another one."""
    home = storage.__dict__.get(_HOME)
    if isinstance(home, weakref.ref):
        home = home()
    return storage if home is None else home


_HOME = "memprop_home"


def _key(tensor: torch.Tensor) -> int:
    return home_of(tensor)._cdata
