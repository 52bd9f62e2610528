"""Lightning: a callback that records steps of ``lightning.Trainer``."""

import os
from collections.abc import Iterable
from typing import Any

from memprop.errors import MissingExtraError
from memprop.torch.integrations.watch import Watch
from memprop.torch.loop import Schedule

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ImportError as error:
    raise MissingExtraError(
        'memprop.torch.integrations.lightning needs Lightning: pip install "memprop[lightning]"',
        name="lightning",
    ) from error


class MemoryCallback(Callback):
    """Where the bytes of a training go: figures in the log, pages, what lived when memory ran out.

    ``Trainer(callbacks=[MemoryCallback()])`` is all that is needed. A step is as many batches as
    the trainer accumulates, up to the optimizer's step, or steps, of the last one. It begins at
    ``on_train_batch_start`` and ends at ``on_train_batch_end``: the loading of its first batch and
    a validation after it are in none; a validation in the midst of it is its phase "evaluation".
    Steps that are not recorded cost nothing.

    Figures, all in bytes, go to every logger of the trainer: ``memory/peak_bytes``,
    ``memory/live_bytes`` (at the end), ``memory/growth_bytes`` (how many more than at the end of
    the recorded step before), ``memory/saved_bytes`` (kept for backward) and the peak by category,
    as ``memory/peak_activation_bytes``.

    Args:
        schedule: which steps are recorded: n for 1 in n, or a function as
            :func:`torch.profiler.schedule` makes it, of the number of a step, counted from 0 where
            training begins. The first three and then 1 in 100 if not given.
        out: a folder. A page of step 10 is ``step_10/step.html`` in it; at the end come
            ``steps.csv`` and ``growth.csv``; if memory runs out, ``out_of_memory/`` is written
            before the exception goes on. ``None`` writes nothing.
        page_steps: the steps that have a page, numbered as in Lightning's logs, where the first is
            0. They are recorded whatever the schedule says.

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
        self._updates = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A training begins; the sanity check is over."""
        self._watch.begin(_logged_step(trainer), {"model": pl_module}, trainer.global_rank)

    def on_train_batch_start(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        """A batch begins, and with it a step unless gradients are being accumulated."""
        if not self._watch.in_step:
            self._updates = trainer.global_step
            self._watch.begin_step()

    def on_train_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        """A batch is over, and the step if an optimizer has updated."""
        if trainer.global_step == self._updates:
            return
        figures = self._watch.end_step()
        for logger in trainer.loggers if figures else ():
            named = {k.replace("/", logger.group_separator): v for k, v in figures.items()}
            logger.log_metrics(named, step=_logged_step(trainer))

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """The training is over."""
        self._watch.end()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """An exception ends the training, and goes on after this."""
        self._watch.end(exception)

    def teardown(self, *_: Any, **__: Any) -> None:
        """The trainer is done: a tuner may have broken it off without an exception."""
        self._watch.end()


def _logged_step(trainer: Trainer) -> int:
    """The number under which Lightning logs the step that runs; its own callbacks read it here."""
    return trainer.fit_loop.epoch_loop._batches_that_stepped
