"""Hugging Face: a callback that records steps of ``transformers.Trainer``."""

import functools
import os
import sys
from collections.abc import Iterable
from typing import Any

from memprop.errors import MissingExtraError, PhaseError
from memprop.torch.integrations.watch import Watch
from memprop.torch.loop import Schedule
from memprop.torch.record.names import locals_of

try:
    from transformers import (
        Trainer,
        TrainerCallback,
        TrainerControl,
        TrainerState,
        TrainingArguments,
    )
except ImportError as error:
    raise MissingExtraError(
        "memprop.torch.integrations.huggingface needs transformers: "
        'pip install "memprop[huggingface]"',
        name="transformers",
    ) from error


class MemoryCallback(TrainerCallback):
    """Where the bytes of a training go: figures in the log, pages, what lived when memory ran out.

    ``Trainer(..., callbacks=[MemoryCallback()])`` is all that is needed; :meth:`attach` is for a
    trainer that is there already. A step is an optimizer's step, with all its micro-batches. It
    begins at ``on_step_begin`` and ends at ``on_step_end``: evaluation, saving and the loading of
    batches are in none. Steps that are not recorded cost nothing.

    Figures, all in bytes, go to every logger of the trainer and into ``trainer.state.log_history``:
    ``memory/peak_bytes``, ``memory/live_bytes`` (at the end), ``memory/growth_bytes`` (how many
    more than at the end of the recorded step before), ``memory/saved_bytes`` (kept for backward)
    and the peak by category, as ``memory/peak_activation_bytes``.

    Args:
        schedule: which steps are recorded: n for 1 in n, or a function as
            :func:`torch.profiler.schedule` makes it, of the number of a step, counted from 0 where
            training begins. The first three and then 1 in 100 if not given.
        out: a folder. A page of step 10 is ``step_10/step.html`` in it; at the end come
            ``steps.csv`` and ``growth.csv``; if memory runs out, ``out_of_memory/`` is written
            before the exception goes on. ``None`` writes nothing.
        page_steps: the steps that have a page, by the trainer's ``global_step``, whose first is 1.
            They are recorded whatever the schedule says.

    Raises:
        MempropError: an argument is wrong.
    """

    def __init__(
        self,
        *,
        schedule: Schedule | int | None = None,
        out: str | os.PathLike[str] | None = "memprop_report",
        page_steps: Iterable[int] = (),
    ) -> None:
        self._watch = Watch(schedule=schedule, out=out, page_steps=page_steps)
        self._trainer: Trainer | None = None

    def attach(self, trainer: Trainer) -> None:
        """Add the callback to a trainer.

        ``trainer.add_callback`` would not do: a trainer tells its callbacks of no exception, so
        the call that trains is watched for one.
        """
        trainer.add_callback(self)
        self._guard(trainer)

    def on_init_end(self, *_: Any, **__: Any) -> None:
        """The trainer is made."""
        trainer = _calling_trainer()
        if trainer is not None:
            self._guard(trainer)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, *_: Any, **given: Any
    ) -> None:
        """A training begins.

        Raises:
            PhaseError: the callback came to its trainer by ``add_callback``.
        """
        if self._trainer is None or _calling_trainer() is not self._trainer:
            raise PhaseError(
                "a MemoryCallback must learn when an exception ends the training, of which "
                "callbacks are not told: pass it as Trainer(callbacks=[...]), or call "
                "callback.attach(trainer) instead of trainer.add_callback(callback)"
            )
        names = {name: given.get(name) for name in ("model", "optimizer")}
        self._watch.begin(state.global_step + 1, names, args.process_index)

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """A step begins, with its first micro-batch."""
        self._watch.begin_step()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """The step is over: the optimizer has updated, gradients are dropped."""
        figures = self._watch.end_step()
        if figures and self._trainer is not None:
            self._log(self._trainer, figures, args, state, control)

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """The training is over."""
        self._watch.end()

    def _log(
        self,
        trainer: Trainer,
        figures: dict[str, float],
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
    ) -> None:
        """Give figures to every callback that logs.

        They are no part of the trainer's own next log, which may be of another step. Nor do they go
        through ``trainer.log``, which trainers override to add, and to reset, figures of theirs.
        """
        logs = figures if state.epoch is None else {**figures, "epoch": state.epoch}
        state.log_history.append({**logs, "step": state.global_step})
        asked = control.should_log  # the handler takes every log for the one that was due
        trainer.callback_handler.on_log(args, state, control, dict(logs))
        control.should_log = asked

    def _guard(self, trainer: Trainer) -> None:
        """End the recording where an exception leaves the loop of a trainer."""
        self._trainer = trainer
        # The inner one, because train() itself tries again with smaller batches, if it is asked to.
        name = "_inner_training_loop" if hasattr(trainer, "_inner_training_loop") else "train"
        train = getattr(trainer, name)

        @functools.wraps(train)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            try:
                return train(*args, **kwargs)
            except BaseException as error:
                self._watch.end(error)
                raise

        setattr(trainer, name, guarded)


def _calling_trainer() -> Trainer | None:
    """The trainer whose method is calling: callbacks are given everything but it."""
    frame = sys._getframe(1)
    while frame is not None:
        found = locals_of(frame).get("self")
        if isinstance(found, Trainer):
            return found
        frame = frame.f_back
    return None
