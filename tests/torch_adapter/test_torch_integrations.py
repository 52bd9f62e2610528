"""The callbacks record steps of real trainers, change nothing, and are gone afterwards."""

import importlib
import sys
import warnings

import asks_for_torch  # noqa: F401
import pandas as pd
import pytest
import torch
from optional import load_optional
from torch import nn
from torch.nn.modules import module as modules
from torch.optim import optimizer as optimizers
from torch.profiler import ProfilerAction
from torch.utils import _python_dispatch as dispatch
from torch.utils.data import DataLoader, Dataset

import memprop as mp
import memprop.torch as mpt
from memprop.errors import InvalidTypeError, InvalidValueError, MissingExtraError, PhaseError
from memprop.torch.integrations.watch import few_steps
from memprop.traces.alive import alive_table

# The libraries warn of much; of ours there must be none.
pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.filterwarnings("error:memprop could not:RuntimeWarning"),
]

PARAMETER_BYTES = 4 * (8 * 32 + 32 + 32 * 8 + 8)
ADAM_BYTES = 2 * PARAMETER_BYTES + 4 * 4  # two moments, and a counter for each parameter


def callback_of(package, library):
    """The callback for a library, whose own warnings are not ours."""
    with warnings.catch_warnings(action="ignore"):
        load_optional(library)
        return importlib.import_module(f"memprop.torch.integrations.{package}").MemoryCallback


def fail_to_allocate():
    """More than any address space: the CPU's allocator itself fails."""
    torch.empty(2**55, dtype=torch.uint8)


def nothing_is_hooked():
    hooks = [
        modules._global_forward_pre_hooks,
        modules._global_forward_hooks,
        optimizers._global_optimizer_pre_hooks,
        optimizers._global_optimizer_post_hooks,
    ]
    return not any(hooks) and dispatch._get_current_dispatch_mode() is None


class Samples(Dataset):
    def __init__(self):
        self.x = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return {"x": self.x[index]}


class Model(nn.Module):
    """Two layers. In its call number ``fails_in``, ``failure`` is called after the first."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(8, 32), nn.Linear(32, 8)
        self.calls, self.fails_in, self.failure = 0, None, fail_to_allocate

    def forward(self, x):
        self.calls += self.training
        h = torch.tanh(self.first(x))
        if self.training and self.calls == self.fails_in:
            self.failure()
        return {"loss": (self.second(h) - x).square().mean()}


# Hugging Face


def hf_trainer(folder, callbacks=(), **options):
    with warnings.catch_warnings(action="ignore"):
        transformers = load_optional("transformers")
        load_optional("accelerate")
    options = {
        "max_steps": 6,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "logging_steps": 1,
        "report_to": [],
        **options,
    }
    args = transformers.TrainingArguments(
        output_dir=str(folder / "trainer"),
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
        **options,
    )
    return transformers.Trainer(
        model=Model(),
        args=args,
        train_dataset=Samples(),
        eval_dataset=Samples(),
        callbacks=list(callbacks),
    )


def losses_of(trainer):
    logged = trainer.state.log_history
    return [(row["step"], row["loss"], row["grad_norm"]) for row in logged if "loss" in row]


def figures_of(trainer, name="memory/peak_bytes"):
    return {row["step"]: row[name] for row in trainer.state.log_history if name in row}


@pytest.fixture
def hf_callback():
    return callback_of("huggingface", "transformers")


@pytest.fixture
def logged_by_tensorboard(tmp_path, monkeypatch):
    """The scalars that are logged into the folder of a test, each as {step: value}."""
    events = load_optional("tensorboard.backend.event_processing.event_accumulator")
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "logged"))

    def read():
        found = events.EventAccumulator(str(tmp_path / "logged")).Reload()
        return {
            tag: {one.step: one.value for one in found.Scalars(tag)}
            for tag in found.Tags()["scalars"]
        }

    return read


def test_a_trainer_trains_to_the_same_bits_and_its_loggers_get_the_figures(
    tmp_path, hf_callback, logged_by_tensorboard
):
    options = {"eval_strategy": "steps", "eval_steps": 2}
    plain = hf_trainer(tmp_path, **options)
    plain.train()
    out = tmp_path / "report"
    callback = hf_callback(out=out, page_steps=(5,))
    watched = hf_trainer(tmp_path, [callback], report_to="tensorboard", **options)
    watched.train()
    assert nothing_is_hooked()

    assert losses_of(watched) == losses_of(plain)
    assert len(losses_of(plain)) == 6
    for one, other in zip(watched.model.parameters(), plain.model.parameters(), strict=True):
        assert torch.equal(one, other)

    peaks = figures_of(watched)
    assert list(peaks) == [1, 2, 3, 5]  # the first three, and the one with a page
    logged = logged_by_tensorboard()
    assert logged["train/memory/peak_bytes"] == peaks
    assert logged["train/memory/peak_parameter_bytes"] == dict.fromkeys(peaks, PARAMETER_BYTES)
    assert logged["train/memory/peak_optimizer_state_bytes"][5] == ADAM_BYTES
    assert logged["train/loss"].keys() == set(range(1, 7))
    steps = pd.read_csv(out / "steps.csv").set_index("step")
    assert steps["peak_bytes"].to_dict() == peaks
    assert (out / "growth.csv").exists()

    trace = mp.Trace.load(out / "step_5" / "trace.json.gz")
    assert trace.peak == peaks[5]
    assert (out / "step_5" / "step.html").stat().st_size > 10_000
    assert [path.name for path in out.glob("step_*")] == ["step_5"]
    # Two micro-batches and one update; not the evaluation before it.
    calls = [operator.name for operator in trace.operators]
    assert sum(name.startswith("model.first/addmm") for name in calls) == 2
    assert "backward 2" in trace.phases
    assert "evaluation" not in {operator.phase for operator in trace.operators}


def test_what_lives_when_a_trainer_runs_out_of_memory_is_written(tmp_path, hf_callback):
    callback = hf_callback(schedule=1, out=tmp_path / "report")
    trainer = hf_trainer(tmp_path, [callback])
    trainer.model.fails_in = 4  # the second micro-batch of the second step
    with pytest.raises(RuntimeError, match="DefaultCPUAllocator: can't allocate memory") as raised:
        trainer.train()
    assert type(raised.value) is RuntimeError
    assert nothing_is_hooked()
    assert_is_told(tmp_path / "report" / "out_of_memory", "step 2: RuntimeError", "model")
    assert any("out_of_memory" in note for note in raised.value.__notes__)

    trainer.model.fails_in = None
    trainer.train()  # again, and from the beginning
    assert list(figures_of(trainer)) == [1, 2, 3, 4, 5, 6]


def assert_is_told(folder, where, module):
    """A folder has the trace of a step that failed after ``module``, and the table of its end."""
    assert where in (folder / "error.txt").read_text()
    trace = mp.Trace.load(folder / "trace.json.gz")
    lived = pd.read_csv(folder / "lived.csv")
    assert lived["bytes"].sum() == trace.live.total[-1]
    assert lived["bytes"].is_monotonic_decreasing
    of = lived.groupby("category")["bytes"].sum()
    assert of["parameter"] == of["parameter_gradient"] == PARAMETER_BYTES
    assert of["optimizer_state"] == ADAM_BYTES
    # What the forward pass has made up to the failure is there.
    made = set(lived["variable"].str.partition("#")[0])
    assert {f"{module}/tanh", f"{module}.first.weight.grad"} <= made
    assert trace.operators[-1].name == f"{module}/tanh#2"
    assert (folder / "step.html").exists()


def test_of_a_step_that_was_not_recorded_there_is_the_one_before(tmp_path, hf_callback):
    out = tmp_path / "report"
    trainer = hf_trainer(tmp_path, [hf_callback(out=out)])
    trainer.model.fails_in = 9
    with pytest.raises(RuntimeError, match="DefaultCPUAllocator"):
        trainer.train()
    told = (out / "out_of_memory" / "error.txt").read_text()
    assert told.startswith("step 5: RuntimeError")
    assert "was not recorded" in told
    last = mp.Trace.load(out / "out_of_memory" / "last_recorded_step" / "trace.json.gz")
    assert last.peak == figures_of(trainer)[3]
    assert not (out / "out_of_memory" / "lived.csv").exists()


def interrupt():
    raise KeyboardInterrupt


@pytest.mark.parametrize("fails_in", [3, 11], ids=["recorded", "not recorded"])
def test_an_interrupt_leaves_nothing_hooked(tmp_path, hf_callback, fails_in):
    trainer = hf_trainer(tmp_path, [hf_callback(out=tmp_path / "report")])
    trainer.model.fails_in, trainer.model.failure = fails_in, interrupt
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert nothing_is_hooked()
    assert not (tmp_path / "report" / "out_of_memory").exists()
    with mpt.profile():  # nor is the callback's profile still there
        pass


def test_a_trainer_that_looks_for_its_batch_size_is_told_of_each_failure(tmp_path, hf_callback):
    out = tmp_path / "report"
    options = {"auto_find_batch_size": True, "gradient_accumulation_steps": 1}
    trainer = hf_trainer(tmp_path, [hf_callback(out=out, schedule=1)], **options)
    trainer.model.fails_in = 2
    trainer.train()  # it catches the error itself, and trains with smaller batches
    assert trainer.state.global_step == 6
    assert "step 2" in (out / "out_of_memory" / "error.txt").read_text()
    assert list(figures_of(trainer)) == [1, 2, 3, 4, 5, 6]
    assert nothing_is_hooked()


def test_a_trainer_that_is_there_already_needs_attach(tmp_path, hf_callback):
    callback = hf_callback(out=None)
    trainer = hf_trainer(tmp_path, max_steps=2)
    trainer.add_callback(callback)
    with pytest.raises(PhaseError, match=r"callback\.attach\(trainer\)"):
        trainer.train()
    trainer.remove_callback(callback)
    callback.attach(trainer)
    trainer.train()
    assert list(figures_of(trainer)) == [1, 2]
    assert list(tmp_path.rglob("steps.csv")) == []


def test_the_trainers_own_log_comes_when_it_is_due(tmp_path, hf_callback):
    seldom = torch.profiler.schedule(wait=1, warmup=1, active=2)
    trainer = hf_trainer(tmp_path, [hf_callback(out=None, schedule=seldom)], logging_steps=2)
    trainer.train()
    assert [step for step, *_ in losses_of(trainer)] == [2, 4, 6]
    assert list(figures_of(trainer)) == [3, 4]


def test_a_page_that_cannot_be_written_does_not_end_a_training(tmp_path, hf_callback):
    (tmp_path / "step_2").write_text("in the way")
    trainer = hf_trainer(tmp_path, [hf_callback(out=tmp_path, page_steps=(2,))])
    with pytest.warns(RuntimeWarning, match="memprop could not write"):
        trainer.train()
    assert trainer.state.global_step == 6


# Lightning


@pytest.fixture
def pl_callback():
    return callback_of("lightning", "lightning.pytorch")


def pl_trained(folder, callbacks=(), module=None, fails_in=None, failure=None, **options):
    """The losses of a training, and where Lightning logs it."""
    lightning = load_optional("lightning.pytorch")
    loggers = load_optional("lightning.pytorch.loggers")

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model, self.losses = Model(), []

        def training_step(self, batch, index):
            loss = self.model(**batch)["loss"]
            self.log("loss", loss)
            self.losses.append(loss.item())
            return loss

        def validation_step(self, batch, index):
            self.log("validation", self.model(**batch)["loss"])

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters())

    module = Module() if module is None else module
    if fails_in is not None:
        module.model.fails_in, module.model.failure = fails_in, failure
    logger = loggers.CSVLogger(folder, name="logged", version=0)
    trainer = lightning.Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        callbacks=list(callbacks),
        logger=logger,
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        **{"max_steps": 6, **options},
    )
    batches = DataLoader(Samples(), batch_size=4)
    trainer.fit(module, batches, batches)
    return module.losses


def logged_in(folder):
    return pd.read_csv(folder / "logged" / "version_0" / "metrics.csv")


def peaks_in(folder):
    rows = logged_in(folder).dropna(subset=["memory/peak_bytes"])
    return dict(zip(rows["step"], rows["memory/peak_bytes"], strict=True))


def test_lightning_trains_to_the_same_bits_and_its_logger_gets_the_figures(tmp_path, pl_callback):
    options = {"accumulate_grad_batches": 2, "val_check_interval": 2}
    plain = pl_trained(tmp_path / "plain", **options)
    out = tmp_path / "report"
    watched = pl_trained(tmp_path, [pl_callback(out=out, page_steps=(4,))], **options)
    assert nothing_is_hooked()
    assert watched == plain
    assert len(plain) == 12

    peaks = peaks_in(tmp_path)
    assert list(peaks) == [0, 1, 2, 4]
    assert logged_in(tmp_path)["loss"].count() == 6
    parameters = logged_in(tmp_path)["memory/peak_parameter_bytes"].dropna()
    assert parameters.tolist() == [PARAMETER_BYTES] * 4
    assert pd.read_csv(out / "steps.csv")["step"].tolist() == [0, 1, 2, 4]

    trace = mp.Trace.load(out / "step_4" / "trace.json.gz")
    assert trace.peak == peaks[4]
    assert (out / "step_4" / "step.html").exists()
    calls = [operator.name for operator in trace.operators]
    assert sum("model.model.first/addmm" in name for name in calls) == 2  # of 18 with validation


def test_what_lives_when_lightning_runs_out_of_memory_is_written(tmp_path, pl_callback):
    def fail():
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    callback = pl_callback(schedule=1, out=tmp_path / "report")
    with pytest.raises(torch.cuda.OutOfMemoryError, match=r"^CUDA out of memory\. Tried"):
        pl_trained(tmp_path, [callback], fails_in=4, failure=fail, accumulate_grad_batches=2)
    assert nothing_is_hooked()
    folder = tmp_path / "report" / "out_of_memory"
    assert_is_told(folder, "step 1: OutOfMemoryError: CUDA out of memory", "model.model")


def test_another_exception_is_no_lack_of_memory_and_leaves_nothing_hooked(tmp_path, pl_callback):
    def fail():
        raise ValueError("something else")

    with pytest.raises(ValueError, match="something else"):
        pl_trained(tmp_path, [pl_callback(out=tmp_path / "out")], fails_in=2, failure=fail)
    assert nothing_is_hooked()
    assert not (tmp_path / "out" / "out_of_memory").exists()
    assert pd.read_csv(tmp_path / "out" / "steps.csv")["step"].tolist() == [0]


def test_a_batch_in_which_two_optimizers_step_is_one_step(tmp_path, pl_callback):
    lightning = load_optional("lightning.pytorch")

    class Both(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model, self.losses = Model(), []
            self.automatic_optimization = False

        def training_step(self, batch, index):
            for optimizer in self.optimizers():
                optimizer.zero_grad()
                self.manual_backward(self.model(**batch)["loss"])
                optimizer.step()

        def configure_optimizers(self):
            return [torch.optim.SGD(part.parameters()) for part in self.model.children()]

    callback = pl_callback(out=tmp_path / "out", schedule=1)
    pl_trained(tmp_path, [callback], Both(), max_steps=-1, max_epochs=1, limit_train_batches=3)
    assert list(peaks_in(tmp_path)) == [0, 1, 2]


# Both


def test_few_steps_are_recorded_unless_more_are_asked_for():
    recorded = [n for n in range(301) if few_steps(n) == ProfilerAction.RECORD]
    assert recorded == [0, 1, 2, 100, 200, 300]


@pytest.mark.parametrize(
    ("package", "library"), [("huggingface", "transformers"), ("lightning", "lightning.pytorch")]
)
def test_without_the_library_the_extra_is_named(monkeypatch, package, library):
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"memprop.torch.integrations.{package}", raising=False)
    with pytest.raises(MissingExtraError, match=rf'pip install "memprop\[{package}\]"'):
        importlib.import_module(f"memprop.torch.integrations.{package}")


@pytest.mark.parametrize(
    ("package", "library"), [("huggingface", "transformers"), ("lightning", "lightning.pytorch")]
)
def test_mistakes_are_told(package, library):
    callback = callback_of(package, library)
    with pytest.raises(InvalidTypeError, match=r"schedule must be a number .* got '10'"):
        callback(schedule="10")
    with pytest.raises(InvalidValueError, match="schedule must be a positive integer, got 0"):
        callback(schedule=0)
    with pytest.raises(InvalidTypeError, match="page_steps must be numbers"):
        callback(page_steps=10)
    with pytest.raises(InvalidValueError, match="at least 0, got -1"):
        callback(page_steps=(-1,))
    with pytest.raises(InvalidValueError, match="give out="):
        callback(out=None, page_steps=(10,))


# What the callbacks need of the recorder


def test_a_step_that_is_broken_off_has_a_trace_for_each_device():
    def fails(model, x):
        model(x).sum().backward()
        held = torch.ones(10, device="cpu")
        raise KeyError(held.shape)

    with pytest.raises(KeyError) as raised:
        mpt.simulate_step(fails, nn.Linear(8, 4), torch.ones(2, 8), device="cuda", warmup=0)
    trace = raised.value.trace
    assert trace.devices == ("cuda:0", "cpu")
    assert alive_table(trace.on("cpu"))["bytes"].tolist() == [40]
    there = alive_table(trace).groupby("category")["bytes"].sum()
    assert there["parameter"] == there["parameter_gradient"] == 4 * (8 * 4 + 4)
    assert there.sum() == trace.live.total[-1]


def test_a_table_of_what_lives_at_the_peak_sums_to_the_peak():
    trace = mpt.trace(nn.Linear(8, 4), torch.ones(2, 8))
    table = alive_table(trace, trace.peak_event)
    assert table["bytes"].sum() == trace.peak
    assert table.groupby("category")["bytes"].sum().to_dict() == {
        name: size for name, size in trace.peak_by_category().items() if size
    }


def test_what_a_loop_does_while_it_is_paused_is_in_no_step():
    torch.manual_seed(0)
    model, x = Model(), torch.randn(4, 8)
    with mpt.profile() as prof:
        for number in range(3):
            if number:
                prof.resume()
            model(x)["loss"].backward()
            model.zero_grad()
            taken = prof.pause()
            assert taken is prof.trace
            assert nothing_is_hooked()
            with torch.no_grad():
                model(x)
    assert prof.steps()["step"].tolist() == [0, 1, 2]
    assert prof.traces[1] == prof.traces[2]
    assert not any("evaluation" in trace.phases for trace in prof.traces)


def test_a_step_that_is_not_recorded_has_no_trace_when_it_ends():
    only_second = torch.profiler.schedule(wait=1, warmup=0, active=1, repeat=1)
    with mpt.profile(only_second) as prof:
        assert prof.pause() is None
        prof.resume()
        torch.ones(4)
        assert prof.pause() is prof.trace


def test_pauses_begin_and_end_in_turn():
    with mpt.profile() as prof:
        with pytest.raises(PhaseError, match="is open: call resume"):
            prof.resume()
        prof.pause()
        with pytest.raises(PhaseError, match="is paused: call pause"):
            prof.pause()
        with pytest.raises(PhaseError, match="is paused"):
            prof.step()
    assert nothing_is_hooked()
