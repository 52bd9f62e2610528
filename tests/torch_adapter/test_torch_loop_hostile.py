"""Loops that are hard to watch: threads, processes, functional transforms, objects with tricks."""

import os
import signal
import threading

import asks_for_torch  # noqa: F401
import pytest
import torch
from test_torch_loop import hooks, profiled, small_model, train
from torch import nn
from torch.utils.checkpoint import checkpoint

import memprop.torch as mpt
from memprop.errors import InvalidValueError, PhaseError

X = torch.ones(8, 16)


def layers():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 64), nn.Tanh(), nn.Linear(64, 8))


def test_another_thread_trains_a_model_of_its_own():
    model, optimizer, x = small_model()
    alone = profiled(lambda: train(model, optimizer, x), 2).trace
    other, other_optimizer, _ = small_model()
    stop = threading.Event()

    def work():
        while not stop.is_set():
            train(other, other_optimizer, x)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        beside = profiled(lambda: train(model, optimizer, x), 20).traces
    finally:
        stop.set()
        thread.join(10)
    assert {trace.peak for trace in beside} == {alone.peak}
    assert {trace.about["model"] for trace in beside} == {"model"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_process_that_is_forked_off_records_nothing():
    model = layers()
    with mpt.profile() as prof:
        model(X).sum().backward()
        child = os.fork()
        if child == 0:  # pragma: no cover - in the other process
            clean = hooks()[0] == 0 and hooks()[-1] == 0
            os._exit(0 if clean else 1)
        _, status = os.waitpid(child, 0)
        prof.step()
    assert os.waitstatus_to_exitcode(status) == 0
    assert prof.trace.about["mode"] == "train"


def test_meta_tensors_have_no_bytes():
    model = layers()

    def step():
        torch.empty(10**6, device="meta")
        model(X).sum().backward()
        model.zero_grad()

    def plain():
        model(X).sum().backward()
        model.zero_grad()

    assert profiled(step, 2).trace.peak == profiled(plain, 2).trace.peak


def grad_of_a_function():
    weight = torch.randn(16, 64)
    torch.func.grad(lambda w: (X @ w).sin().sum())(weight)


def ensemble():
    models = [layers() for _ in range(3)]
    stacked, _ = torch.func.stack_module_state(models)
    base = layers()

    def one(parameters):
        return torch.func.functional_call(base, parameters, (X,))

    torch.vmap(one)(stacked).sum().backward()


def jacobian():
    model = layers()
    torch.vmap(torch.func.jacrev(model))(X).square().mean().backward()


def forward_mode():
    model = layers()
    torch.func.jvp(model, (X,), (torch.ones_like(X),))[1].sum().backward()


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # PyTorch's own
@pytest.mark.parametrize("step", [grad_of_a_function, ensemble, jacobian, forward_mode])
def test_functional_transforms_are_recorded(step):
    trace = profiled(step, 2).trace
    assert trace.peak > X.nbytes
    assert trace.device == "cpu"


def test_the_local_variables_that_a_program_asked_for_stay():
    def loop(lr=0.1):
        asked = locals()
        model = layers()
        with mpt.profile() as prof:
            model(X).sum().backward()
            prof.step()
        return asked

    assert loop()["lr"] == 0.1


def test_a_sparse_constant_is_given_and_no_growth():
    torch.manual_seed(0)
    A = (torch.rand(50, 50) < 0.1).float().to_sparse()
    head, features = nn.Linear(16, 16), torch.randn(50, 16)

    def step():
        torch.sparse.mm(A, head(features)).square().mean().backward()
        head.zero_grad()

    prof = profiled(step, 3)
    assert prof.growth().empty
    given = [v for v in prof.trace.variables if v.category == "input"]
    assert sum(v.bytes for v in given) >= A._indices().nbytes + A._values().nbytes


class Alike(nn.Linear):
    def __eq__(self, other):
        return True

    def __hash__(self):
        return 1


class OptimizerAlike(torch.optim.SGD):
    def __eq__(self, other):
        return True

    __hash__ = None


class Lazy:
    """An object that answers no question."""

    def __getattribute__(self, name):
        raise RuntimeError(name)


class Unreadable(list):
    def __iter__(self):
        raise RuntimeError("not to be read")


def test_objects_with_tricks_are_no_hindrance():
    first, second, lazy, unreadable = Alike(16, 16), Alike(16, 4), Lazy(), Unreadable([1])
    optimizer = OptimizerAlike([*first.parameters(), *second.parameters()], lr=0.1)
    optimizer.state["shared"] = torch.ones(5)
    with mpt.profile() as prof:
        second(first(X)).sum().backward()
        optimizer.step()
        prof.step()
    assert type(lazy) is Lazy
    assert len(unreadable) == 1
    names = {v.name for v in prof.trace.variables if v.category == "parameter"}
    assert names == {"first.weight", "first.bias", "second.weight", "second.bias"}
    assert "shared" in {v.name for v in prof.trace.variables if v.category == "optimizer_state"}


def test_a_schedule_that_fails_blocks_no_later_profile():
    def schedule(number):
        raise ZeroDivisionError(number)

    with pytest.raises(ZeroDivisionError):
        mpt.profile(schedule=schedule).__enter__()
    with mpt.profile():
        pass


def test_what_cannot_be_recorded_leaves_no_hooks_and_hides_no_error(monkeypatch):
    model, before = layers(), hooks()
    prof = mpt.profile()

    def loop():
        with prof:
            model(X)
            prof._recording.ledger.found_late.append(10**6)  # as an interrupt would leave it
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop()
    assert hooks() == before
    assert prof.partial is None


def test_an_optimizer_that_fails_is_over_with_its_step():
    model = layers()

    class Failing(torch.optim.SGD):
        def step(self, closure=None):
            raise ValueError("refused")

    optimizer = Failing(model.parameters(), lr=0.1)
    with mpt.profile() as prof:
        with pytest.raises(ValueError, match="refused"):
            optimizer.step()
        prof.step()
        with torch.no_grad():
            model(X)
        prof.step()
    assert set(prof.trace.timeline()["phase"]) == {"setup", "evaluation"}


def test_a_step_that_ends_within_a_backward_pass_is_refused():
    model = layers()
    with mpt.profile() as prof:
        output = model(X)
        output.register_hook(lambda _: prof.step())
        with pytest.raises(PhaseError, match="in the midst of a backward pass"):
            output.sum().backward()
    assert hooks()[-1] == 0


def test_nested_checkpoints_are_no_unused_graphs():
    parts = [nn.Linear(16, 16), nn.Linear(16, 16)]

    def inner(x):
        return checkpoint(
            parts[1], checkpoint(parts[0], x, use_reentrant=False), use_reentrant=False
        )

    profiled(lambda: checkpoint(inner, X, use_reentrant=False).sum().backward(), 2)


def test_a_step_in_another_thread_is_refused():
    errors = []

    def step(prof):
        try:
            prof.step()
        except PhaseError as error:
            errors.append(str(error))

    with mpt.profile() as prof:
        thread = threading.Thread(target=step, args=(prof,))
        thread.start()
        thread.join(10)
    assert "records the thread in which its with block began" in errors[0]


def test_gradients_that_are_kept_are_growth():
    model, kept = layers(), []

    def step():
        model(X).sum().backward()
        kept.append([parameter.grad for parameter in model.parameters()])
        model.zero_grad()

    growth = profiled(step, 4).growth()
    assert set(growth["category"]) == {"parameter_gradient"}
    size = sum(parameter.nbytes for parameter in model.parameters())
    assert growth["bytes"].sum() == 3 * size


def test_gradients_that_are_accumulated_are_no_growth():
    model = layers()
    assert profiled(lambda: model(X).sum().backward(), 4).growth().empty


def test_phases_nest_in_the_order_in_which_they_were_begun():
    with mpt.profile() as prof:
        with prof.phase("a"), prof.phase("b"):
            with prof.phase("a"):
                pass
            torch.ones(4) * 2
        prof.step()
    assert "a/b/data" in set(prof.trace.timeline()["phase"])


@pytest.mark.parametrize("take", [lambda loss: f"{loss:.3f}", lambda loss: loss.detach().numpy()])
def test_numbers_that_are_taken_out_of_a_simulation_are_named_with_their_line(take):
    model = layers()

    def step():
        take(model(X).sum())

    with pytest.raises(InvalidValueError, match=r"out of it \(test_torch_loop_hostile.py:\d+\)"):
        mpt.simulate_step(step)


def test_a_simulation_within_a_profile_is_no_part_of_it():
    model = layers()

    def step():
        model(X).sum().backward()
        model.zero_grad()

    def with_simulation():
        step()
        mpt.simulate(model, X)

    assert profiled(with_simulation, 2).trace.peak == profiled(step, 2).trace.peak


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no timers here")
# Python drops what is raised within a finalizer, an interrupt too. The next one ends the loop.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_at_any_moment_ends_the_recording():
    before = hooks()

    def interrupt(*_):
        raise KeyboardInterrupt

    def loop(prof, seconds):
        model, optimizer, x = small_model()
        with prof:
            # Again after a second, should somebody else's code swallow the first.
            signal.setitimer(signal.ITIMER_REAL, seconds, 1)
            while True:
                train(model, optimizer, x)
                prof.step()

    usual = signal.signal(signal.SIGALRM, interrupt)
    try:
        for moment in range(20):
            prof = mpt.profile()
            with pytest.raises(KeyboardInterrupt):
                loop(prof, 0.002 + 0.0007 * moment)
            signal.setitimer(signal.ITIMER_REAL, 0)
            assert hooks() == before
            prof.growth()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, usual)
    train(*small_model())
