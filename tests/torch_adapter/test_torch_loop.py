"""mpt.profile: any training loop, against the CPU allocator, MemTracker and arithmetic by hand."""

import gc
import re
import sys
import threading
import warnings
import weakref

import asks_for_torch  # noqa: F401
import pytest
import torch
import torch_oracles as oracles
import training_loops as loops
from torch import nn
from torch.distributed._tools.mem_tracker import MemTracker
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack

import memprop as mp
import memprop.torch as mpt
from memprop.errors import InvalidTypeError, InvalidValueError, PhaseError

NUMBERS_OF_PYTHON = {"maml": 4 * 8}
"""Bytes of numbers that autograd keeps as tensors, the 0.01 of ``0.01 * gradient``."""


def small_model():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    return model, torch.optim.Adam(model.parameters()), torch.randn(32, 8)


def train(model, optimizer, x):
    optimizer.zero_grad()
    loss = model(x).square().mean()
    loss.backward()
    optimizer.step()
    return loss.detach()


def profiled(step, count, **options):
    with mpt.profile(**options) as prof:
        for _ in range(count):
            step()
            prof.step()
    return prof


def hooks():
    """All that a recording hangs into PyTorch."""
    modules = nn.modules.module
    optimizers = sys.modules["torch.optim.optimizer"]
    return (
        len(modules._global_forward_pre_hooks),
        len(modules._global_forward_hooks),
        len(modules._global_forward_hooks_always_called),
        len(optimizers._global_optimizer_pre_hooks),
        len(optimizers._global_optimizer_post_hooks),
        torch.autograd._make_grads,
        torch.autograd._engine_run_backward,
        len(_get_current_dispatch_mode_stack()),
    )


def hooks_of(model):
    return [len(p._post_accumulate_grad_hooks or ()) for p in model.parameters()]


# --- the numbers ---


@pytest.mark.parametrize("name", loops.LOOPS)
def test_each_step_of_a_loop_has_the_peak_and_the_growth_of_the_allocator(name):
    step = loops.build(name)
    step()
    allocator = oracles.allocator_steps(step, 2)
    step = loops.build(name)
    step()
    table = profiled(step, 3).steps()
    numbers = NUMBERS_OF_PYTHON.get(name, 0)
    before = table["live_bytes"] - table["growth_bytes"]
    ledger = list(zip(table["peak_bytes"] - before, table["growth_bytes"], strict=True))[1:]
    assert ledger == [(peak - numbers, growth) for peak, growth in allocator]


@pytest.mark.parametrize("name", ["distillation", "kept_losses"])
def test_a_whole_step_has_the_total_of_memtracker(name):
    """MemTracker refuses the others, in which a module is called twice in a step."""
    step = loops.build(name)
    step()
    held = [cell.cell_contents for cell in step.__closure__]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tracker = MemTracker()
        parts = [p for p in held if isinstance(p, nn.Module | torch.optim.Optimizer | torch.Tensor)]
        tracker.track_external(*parts)
        with tracker:
            step()
    (witness,) = tracker.get_tracker_snapshot("peak").values()
    step = loops.build(name)
    step()
    assert profiled(step, 1).trace.peak == witness["Total"]


@pytest.mark.parametrize("name", loops.LOOPS)
def test_a_loop_computes_bit_for_bit_what_it_computes_without(name):
    def parameters(step):
        return [p for module in step.modules for p in module.parameters()]

    plain = loops.build(name)
    for _ in range(3):
        plain()
    watched = loops.build(name)
    profiled(watched, 3)
    pairs = list(zip(parameters(plain), parameters(watched), strict=True))
    assert pairs
    assert all(torch.equal(one, other) for one, other in pairs)


def test_a_trace_of_a_module_is_the_special_case():
    model, optimizer, x = small_model()
    train(model, optimizer, x)
    optimizer.zero_grad()

    def train_and_hold():
        optimizer.zero_grad()
        output = model(x)
        loss = output.square().mean()
        loss.backward()
        optimizer.step()

    loop = profiled(train_and_hold, 2).trace
    optimizer.zero_grad()
    step = mpt.trace(model, x, loss=lambda y: y.square().mean(), optimizer=optimizer)
    assert loop.peak == step.peak
    assert loop.saved_bytes == step.saved_bytes
    assert loop.peak_by_category() == step.peak_by_category()


# --- names and phases ---


def test_a_gan_has_its_own_names_and_a_phase_for_each_pass():
    G, D = loops.mlp(4, 8, 6), loops.mlp(6, 8, 1)
    og, od = torch.optim.SGD(G.parameters(), lr=0.1), torch.optim.SGD(D.parameters(), lr=0.1)

    def step():
        fake = G(torch.randn(16, 4))
        D(fake.detach()).mean().backward()
        od.step()
        D(fake).mean().backward()
        og.step()

    trace = profiled(step, 1).trace
    table = trace.timeline()
    order = list(dict.fromkeys(table["phase"]))
    assert order == [
        *("setup", "data", "forward", "loss", "backward", "update od"),
        *("backward 2", "update og"),
    ]
    assert {v.name for v in trace.variables if v.category == "parameter"} == {
        f"{root}.{layer}.{kind}" for root in "GD" for layer in (0, 2) for kind in ("weight", "bias")
    }
    assert trace.about["model"] == "G, D"


def test_names_are_given_or_found_in_attributes_and_lists():
    class Trainer:
        def __init__(self):
            self.parts = [nn.Linear(4, 4)]
            self.head = nn.Linear(4, 2)

        def step(self):
            self.head(self.parts[0](torch.randn(3, 4))).sum().backward()

    trainer = Trainer()
    trace = profiled(trainer.step, 1, names={"body": trainer.parts[0]}).trace
    assert trace.about["model"] == "body, head"


def test_a_part_of_a_module_has_its_path_in_the_whole():
    model = nn.ModuleDict({"encoder": nn.Linear(4, 4), "decoder": nn.Linear(4, 2)})

    def step():
        model["decoder"](model["encoder"](torch.randn(3, 4))).sum().backward()

    operators = [operator.name for operator in profiled(step, 1).trace.operators]
    assert "model.encoder/addmm" in operators
    assert "model.decoder/AddmmBackward0" in operators


def test_a_phase_of_ones_own_stands_before_the_others():
    model, optimizer, x = small_model()
    with mpt.profile() as prof:
        with prof.phase("critic"):
            train(model, optimizer, x)
        prof.step()
    phases = set(prof.trace.timeline()["phase"])
    assert {"critic/forward", "critic/loss", "critic/backward", "critic/update optimizer"} <= phases
    assert prof.trace.saved_bytes > 0


def test_evaluation_and_data_have_phases_of_their_own():
    model, optimizer, x = small_model()

    def step():
        train(model, optimizer, torch.stack([*x]))
        with torch.no_grad():
            model(x).argmax(dim=1)

    table = profiled(step, 1).trace.timeline()
    assert table.loc[table["variable"] == "stack", "phase"].iloc[0] == "data"
    assert "evaluation" in set(table["phase"])


def test_a_penalty_on_gradients_is_no_recomputation():
    step = loops.build("wgan_gp")
    step()
    trace = profiled(step, 1).trace
    assert not trace.intermediates()["recomputed"].any()
    assert {"backward", "backward 2"} <= set(trace.timeline()["phase"])


def test_clipping_and_unscaling_are_a_part_of_the_update():
    step = loops.build("accumulation")
    step()
    table = profiled(step, 1).trace.timeline()
    norms = table[table["operator"].str.contains("norm", na=False)]
    assert len(norms)
    assert set(norms["phase"]) == {"update"}
    assert {"backward", "backward 2", "backward 3", "backward 4"} <= set(table["phase"])


def test_variables_know_the_line_that_made_them():
    model, _, x = small_model()

    def step():
        return model(x).exp().sum().backward()  # this line

    lines = {v.name: v.line for v in profiled(step, 1).trace.variables}
    here = step.__code__.co_firstlineno + 1
    assert lines["loss/exp"] == f"tests/torch_adapter/test_torch_loop.py:{here}"
    assert lines["model.0/addmm"] == lines["loss/exp"]
    assert not any(v.line for v in profiled(step, 1, lines=False).trace.variables)


# --- leaks ---


@pytest.mark.parametrize(("name", "operator"), [("kept_losses", "mean"), ("carried_state", "add")])
def test_a_leak_is_named_with_its_line(name, operator):
    step = loops.build(name)
    step()
    growth = profiled(step, 5).growth()
    rows = growth[growth["steps"] == 4]
    assert any(operator in found for found in rows["operator"])
    assert all(re.fullmatch(r".*training_loops\.py:\d+", line) for line in rows["line"])


def test_growth_counts_what_earlier_steps_have_left():
    model, optimizer, x = small_model()
    kept = []
    with mpt.profile() as prof:
        for _ in range(5):
            kept.append(train(model, optimizer, x))
            assert len(prof.growth()) == (len(kept) > 1)
            prof.step()
    growth = prof.growth()
    assert growth[["bytes", "count", "steps", "first_step"]].to_numpy().tolist() == [[16, 4, 4, 0]]
    kept.clear()
    assert prof.growth().empty
    assert prof.steps()["growth_bytes"].tolist()[1:] == [4] * 4


def test_a_loop_without_a_leak_does_not_grow():
    model, optimizer, x = small_model()
    prof = profiled(lambda: train(model, optimizer, x), 4)
    assert prof.growth().empty
    assert prof.steps()["growth_bytes"].tolist()[1:] == [0, 0, 0]


def test_evaluation_with_gradients_is_told_once():
    model, optimizer, x = small_model()

    def step():
        train(model, optimizer, x)
        return model(x).sum().item()

    with pytest.warns(UserWarning, match=r"model \(.*loop.py:\d+\) ran with gradients") as told:
        prof = profiled(step, 2)
    assert len(told) == 1
    lines = {trace.about["unused_graphs"] for trace in prof.traces}
    assert lines == {f"model (tests/torch_adapter/test_torch_loop.py:{told_line(step)})"}


def told_line(step):
    return step.__code__.co_firstlineno + 2


def test_a_graph_that_is_used_in_the_next_step_is_not_told():
    model, _, x = small_model()
    pending = []

    def step():
        pending.append(model(x).sum())
        if len(pending) == 2:
            torch.stack(pending).sum().backward()
            pending.clear()

    profiled(step, 4)


# --- schedules, memory, threads ---


def test_a_schedule_says_which_steps_are_recorded():
    model, optimizer, x = small_model()
    schedule = torch.profiler.schedule(wait=2, warmup=1, active=2, repeat=1)
    seen = []
    with mpt.profile(schedule=schedule) as prof:
        for _ in range(7):
            seen.append(hooks()[0])
            train(model, optimizer, x)
            prof.step()
    assert prof.steps()["step"].tolist() == [3, 4]
    assert seen == [0, 0, 0, 1, 1, 0, 0]
    first, second = prof.traces
    assert first.peak == second.peak


def test_traces_can_be_let_go():
    model, optimizer, x = small_model()
    prof = profiled(lambda: train(model, optimizer, x), 5, keep=2)
    assert len(prof.traces) == 2
    assert prof.steps()["step"].tolist() == [0, 1, 2, 3, 4]


def test_the_profiler_holds_no_tensor():
    model, optimizer, x = small_model()
    with mpt.profile() as prof:
        with torch.no_grad():
            output = model(x)
        died = weakref.ref(output)
        del output
        assert died() is None
        prof.step()
    parameter = weakref.ref(model[0].weight)
    owner = weakref.ref(optimizer)
    del model, optimizer
    gc.collect()
    assert parameter() is None
    assert owner() is None
    assert prof.trace.peak > 0


def test_a_batch_of_another_thread_is_an_input_of_its_step():
    model, optimizer, _ = small_model()

    def load(into):
        into.append(torch.randn(64, 8) * 2)

    def step():
        batch = []
        thread = threading.Thread(target=load, args=(batch,))
        thread.start()
        thread.join(10)
        train(model, optimizer, batch.pop())

    prof = profiled(step, 3)
    inputs = [v.bytes for v in prof.trace.variables if v.category == "input"]
    assert inputs == [64 * 8 * 4]
    assert prof.growth().empty


def test_modules_of_another_thread_do_not_disturb_the_names():
    model, optimizer, x = small_model()
    other, stop = nn.Linear(4, 4), threading.Event()

    def work():
        with torch.no_grad():
            while not stop.is_set():
                other(torch.ones(2, 4))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        trace = profiled(lambda: train(model, optimizer, x), 3).trace
    finally:
        stop.set()
        thread.join(10)
    roots = {v.name.partition(".")[0] for v in trace.variables if v.category == "parameter"}
    assert "model" in roots
    sites = {operator.site for operator in trace.operators if operator.phase == "forward"}
    assert sites == {"model.0", "model.1", "model.2"}


# --- bad input ---


def test_everything_is_gone_after_an_exception_and_what_was_recorded_is_kept():
    model, optimizer, x = small_model()
    before = hooks()
    prof = mpt.profile()

    def loop():
        with prof:
            train(model, optimizer, x)
            prof.step()
            model(x)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        loop()
    assert hooks() == before
    assert hooks_of(model) == [0] * 4
    assert len(prof.traces) == 1
    assert prof.partial.operators[0].name == "model.0/addmm"
    assert caught.value.trace == prof.partial
    train(model, optimizer, x)


def test_an_interrupt_ends_the_recording_and_the_model_trains_on():
    model, optimizer, x = small_model()
    before = hooks()

    def interrupt(*_):
        raise KeyboardInterrupt

    prof, handles = mpt.profile(), []

    def loop():
        with prof:
            train(model, optimizer, x)
            prof.step()
            handles.append(model[1].register_forward_hook(interrupt))
            train(model, optimizer, x)

    with pytest.raises(KeyboardInterrupt):
        loop()
    handles[0].remove()
    assert hooks() == before
    assert prof.partial is not None
    train(model, optimizer, x)


def test_a_step_that_is_never_ended_is_the_whole_block():
    model, optimizer, x = small_model()
    with mpt.profile() as prof:
        train(model, optimizer, x)
    assert prof.steps()["step"].tolist() == [0]
    assert prof.trace.about["mode"] == "train"


def test_nested_profiles_are_refused():
    with mpt.profile(), pytest.raises(PhaseError, match="another profile runs already"):
        mpt.profile().__enter__()
    with mpt.profile():
        pass


def test_a_profile_is_used_once_and_in_its_block():
    prof = mpt.profile()
    with pytest.raises(PhaseError, match="this profile is new: call step"):
        prof.step()
    with prof:
        pass
    with pytest.raises(PhaseError, match="this profile is closed"):
        prof.step()
    with pytest.raises(PhaseError, match="used before"):
        prof.__enter__()
    with pytest.raises(PhaseError, match="no whole step was recorded"):
        prof.trace  # noqa: B018


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"schedule": 3}, InvalidTypeError, "schedule must be a function"),
        ({"names": ["G"]}, InvalidTypeError, "names must be a mapping"),
        ({"keep": 0}, InvalidValueError, "keep must be a positive integer"),
    ],
)
def test_wrong_options_are_named(options, error, message):
    with pytest.raises(error, match=message):
        mpt.profile(**options)


def test_a_phase_needs_a_name():
    with mpt.profile() as prof, pytest.raises(InvalidTypeError, match="must be a text, got 3"):
        prof.phase(3)


class Counting(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))


def test_dispatch_modes_of_the_user_stay_where_they_are():
    model, optimizer, x = small_model()
    schedule = torch.profiler.schedule(wait=0, warmup=1, active=1, repeat=2)
    outer, inner = Counting(), Counting()
    with outer, mpt.profile(schedule=schedule) as prof, inner:
        for _ in range(4):
            train(model, optimizer, x)
            prof.step()
            assert [m for m in _get_current_dispatch_mode_stack() if m in (outer, inner)] == [
                outer,
                inner,
            ]
    assert outer.count >= inner.count > 0
    assert prof.steps()["step"].tolist() == [1, 3]
    assert not _get_current_dispatch_mode_stack()


def test_saved_tensor_hooks_of_the_user_are_no_hindrance():
    model, optimizer, x = small_model()

    def step():
        with torch.autograd.graph.saved_tensors_hooks(lambda t: t.clone(), lambda t: t):
            train(model, optimizer, x)

    step()
    trace = profiled(step, 2).trace
    copies = [v for v in trace.variables if "clone" in v.name]
    assert copies
    assert all(variable.kept for variable in copies)


def test_compiled_parts_are_told_once():
    model, optimizer, x = small_model()
    compiled = torch.compile(model, backend="eager")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        profiled(lambda: train(compiled, optimizer, x), 3)
    assert len([one for one in told if "compiled by torch.compile" in str(one.message)]) == 1


def test_a_saved_step_of_a_loop_loads_as_it_was(tmp_path):
    step = loops.build("gan")
    trace = profiled(step, 2).trace
    trace.save(tmp_path / "step.json.gz")
    assert mp.Trace.load(tmp_path / "step.json.gz") == trace
