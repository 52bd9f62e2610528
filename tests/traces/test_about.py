"""What a trace says of its step is said in one schema, whatever made the trace."""

from pathlib import Path

import numpy as np
import pytest
from optional import load_optional

import memprop as mp
from memprop.traces.about import About

STORED = Path(__file__).parent / "stored"


def of_the_engine():
    model = mp.MLP([3, 4, 2])
    x, y = np.ones((5, 3), dtype="float32"), np.array([0, 1, 0, 1, 0])
    yield mp.trace(model, x, y, optimizer="adam")
    yield mp.trace(model, x, mode="inference")
    yield mp.simulate(model, batch=5)


def of_numpy():
    with mp.Profiler() as profiler, profiler.phase("forward"):
        profiler.watch(np.ones(3), "x")
        yield profiler.trace
    yield profiler.trace


def of_torch():
    torch = load_optional("torch")
    import memprop.torch as mpt

    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    for step in (mpt.trace, mpt.simulate):
        yield step(module, torch.ones(5, 3), loss=torch.sum, optimizer=torch.optim.SGD)


def of_jax():
    jax = load_optional("jax")
    import memprop.jax as mpj

    yield mpj.simulate(lambda w: (w**2).sum(), jax.numpy.ones(3), compile=True)


SOURCES = {"memprop": of_the_engine, "numpy": of_numpy, "torch": of_torch, "jax": of_jax}


@pytest.mark.parametrize("framework", SOURCES)
def test_every_source_says_what_ran_where_and_whether_it_ran(framework):
    for trace in SOURCES[framework]():
        about = trace.about
        assert isinstance(about, About)
        assert about["framework"] == about.framework == framework
        assert about["version"]
        assert about["device"] == "cpu"
        assert about["run"] == ("real" if np.any(trace.events.nanoseconds > 0) else "simulated")
        assert all(key.startswith("compiled_") for key in about.more)


@pytest.mark.parametrize("framework", SOURCES)
def test_it_is_the_same_after_saving_and_loading(framework, tmp_path):
    for trace in SOURCES[framework]():
        trace.save(tmp_path / "t.json.gz")
        assert dict(mp.Trace.load(tmp_path / "t.json.gz").about) == dict(trace.about)


def test_what_is_not_known_is_no_entry():
    about = About(framework="torch", batch=3)
    assert dict(about) == {"framework": "torch", "batch": 3}
    assert about.schedule is None
    assert "schedule" not in about
    with pytest.raises(KeyError, match="schedule"):
        about["schedule"]


def test_an_entry_of_ones_own_is_kept():
    about = About.of({"batch": 3, "experiment": "third"})
    assert (about["experiment"], about.batch, len(about)) == ("third", 3, 2)


def test_a_misspelled_entry_of_the_schema_is_an_error():
    with pytest.raises(TypeError, match="framwork"):
        About(framwork="torch")  # pyright: ignore[reportCallIssue]


def test_values_that_a_file_could_not_hold_are_refused():
    with pytest.raises(mp.MempropError, match="strings and numbers, got \\[1\\] for 'batches'"):
        About.of({"batches": [1]})
    with pytest.raises(mp.MempropError, match="run must be one of real, simulated, got 'maybe'"):
        About(run="maybe")


def test_names_of_the_first_version_still_work_and_warn():
    about = About(framework="jax", run="simulated", device="gpu")
    with pytest.warns(DeprecationWarning, match="'simulated' of a trace's about is called 'run'"):
        assert about["simulated"] is True
    with pytest.warns(DeprecationWarning, match="called 'device' now"):
        assert about["platform"] == "gpu"
    with pytest.raises(KeyError, match="run"):
        About()["simulated"]


@pytest.mark.parametrize("path", sorted(STORED.glob("1_*.json.gz")), ids=lambda path: path.name)
def test_a_file_of_the_first_schema_is_read_in_the_words_of_today(path):
    about = mp.Trace.load(path).about
    framework, run = {
        "1_engine.json.gz": ("memprop", "real"),
        "1_simulated.json.gz": ("memprop", "simulated"),
        "1_numpy.json.gz": ("numpy", "real"),
        "1_torch.json.gz": ("torch", "real"),
        "1_jax.json.gz": ("jax", "simulated"),
    }[path.name]
    assert (about.framework, about.run, about.device) == (framework, run, "cpu")
    assert not {"simulated", "platform"} & set(about.more)


def test_there_is_a_stored_file_of_every_source():
    assert len(list(STORED.glob("1_*.json.gz"))) == len(SOURCES) + 1
