"""Commands print what they promise, and answer bad input with one line and status 2."""

import json
import os
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest
from optional import thorough

import memprop as mp
from memprop.cli import run

SPEC = """
name = "tiny"
title = "A <b>tiny</b> sweep"

[grid]
depth = [1, 2, 3]
batch = [16, 64]
width = 24
mode = ["train", "inference"]
schedule = ["textbook", "lean"]

[measure]
witnesses = ["tracemalloc"]
steps = 1
repeats = 1
"""


@pytest.fixture
def memprop(capsys):
    """Run a command; returns status, stdout and stderr."""

    def command(*arguments):
        status = run([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return status, out, err

    return command


def json_of(memprop, *arguments):
    status, out, err = memprop(*arguments, "--json")
    assert status == 0, err
    return json.loads(out)


def test_profile_shows_z_and_h_under_textbook_and_only_h_under_lean(memprop):
    shape = ("profile", "--depth", 4, "--width", 128, "--batch", 256)

    def variables(schedule):
        document = json_of(memprop, *shape, "--schedule", schedule)
        assert document["peak"] == document["predicted_peak"]
        assert sum(document["peak_by_category"].values()) == document["peak"]
        return [row["variable"] for row in document["intermediates"]]

    assert variables("textbook") == ["x", *(f"{v}{n}" for n in (1, 2, 3, 4) for v in "zh"), "o"]
    assert variables("lean") == ["x", "h1", "h2", "h3", "h4", "p"]


def test_profile_prints_tables_a_person_can_read(memprop):
    status, out, _ = memprop("profile", "--schedule", "textbook", "--l2", 0.01)
    assert status == 0
    for part in ("What lives at the peak", "activation gradient", "reused by", "Inference keeps"):
        assert part in out


def test_profile_writes_what_it_says(memprop, tmp_path):
    out = tmp_path / "step"
    document = json_of(memprop, "profile", "--depth", 2, "--width", 16, "--out", out)
    trace = mp.Trace.load(out / "trace.json.gz")
    assert trace.peak == document["peak"]
    names = {path.name for path in out.iterdir()}
    pictures = {f"{stem}.{kind}" for stem in ("timeline", "lifetimes") for kind in ("png", "svg")}
    assert names == {"trace.json.gz", "timeline.csv", "intermediates.csv", "step.html", *pictures}


def test_profile_gives_three_accounts_of_the_peak_side_by_side(memprop):
    shape = ("--depth", 4, "--width", 128, "--batch", 512)
    blocks = ("--norm", "layer", "--dropout", 0.1, "--residual")
    document = json_of(memprop, "profile", *shape, *blocks, "--schedule", "sqrt")
    assert document["predicted_peak"] == document["peak"]
    assert (
        0 <= document["tracemalloc_peak"] - document["peak"] <= 16 * 1024 + 0.001 * document["peak"]
    )
    assert "norm='layer', residual=True" in document["model"]
    _, out, _ = memprop("profile", *shape)
    assert "tracemalloc" in out


def test_inference_profile_keeps_nothing(memprop):
    document = json_of(memprop, "profile", "--mode", "inference", "--activation", "gelu")
    assert document["saved_bytes"] == 0
    assert document["peak"] == document["inference_peak"]


def test_simulate_names_the_largest_batch_that_fits(memprop):
    document = json_of(memprop, "simulate", "--depth", 3, "--width", 32, "--budget", "1 MiB")
    model = mp.MLP([64, 32, 32, 32, 10])
    rows = {row["schedule"]: row for row in document["schedules"]}
    assert set(rows) >= {"textbook", "lean", "inference"}
    for name in ("textbook", "lean"):
        largest = rows[name]["max_batch"]
        assert mp.simulate(model, largest, schedule=name).peak <= 2**20
        assert mp.simulate(model, largest + 1, schedule=name).peak > 2**20
    status, out, _ = memprop("simulate", "--budget", "2 GiB")
    assert status == 0
    assert "largest batch" in out


def test_plan_keeps_to_the_budget_that_profile_then_measures(memprop):
    shape = ("--depth", 6, "--width", 64, "--batch", 256)
    lean = json_of(memprop, "profile", *shape)["peak"]
    room = lean * 9 // 10
    planned = json_of(memprop, "plan", *shape, "--budget", room)
    measured = json_of(memprop, "profile", *shape, "--schedule", f"budget:{room}")
    assert planned["lean_peak"] == lean
    assert planned["peak"] == measured["predicted_peak"] == measured["peak"] <= room
    assert planned["recomputed_flops"] == measured["recomputed_flops"] > 0
    assert planned["slowdown"] > 1
    assert planned["least"] in (True, False)
    assert [row["layer"] for row in planned["layers"]] == list(range(1, 8))
    assert {row["runs"] for row in planned["layers"]} == {1, 2}
    status, out, _ = memprop("plan", *shape, "--budget", room)
    assert status == 0
    assert "computed again" in out
    table = json_of(memprop, "plan", *shape, "--frontier")["frontier"]
    assert {"lean", "textbook", "sqrt"} <= {row["strategy"] for row in table}


def test_a_frontier_with_a_folder_shows_both_tiers(memprop, tmp_path):
    folder = tmp_path / "a folder"
    asked = ("plan", "--depth", 6, "--width", 32, "--batch", 256, "--frontier", "--offload", folder)
    document = json_of(memprop, *asked)
    (row,) = [row for row in document["frontier"] if row["disk_bytes"]]
    assert row["strategy"] == f"offload:{folder}"
    assert row["slowdown"] > 1
    assert set(document["rates"]) == {"flops", "disk_bytes"}
    status, out, _ = memprop(*asked)
    assert status == 0
    assert "on disk" in out
    assert "a second to and from" in out
    assert list(folder.iterdir()) == []


def test_profiling_with_a_folder_shows_the_peak_of_each_tier(memprop, tmp_path):
    asked = ("profile", "--depth", 6, "--width", 32, "--batch", 256)
    asked += ("--schedule", f"offload:{tmp_path / 'a b'}")
    document = json_of(memprop, *asked)
    assert document["peak"] == document["predicted_peak"]
    assert document["peak_by_device"]["cpu"] == document["peak"]
    assert document["peak_by_device"]["disk"] > 0
    _, out, _ = memprop(*asked)
    assert "Peaks by device" in out
    assert f"and, on disk, {mp.format_bytes(document['peak_by_device']['disk'])} of" in out


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((), "plan needs one of --budget SIZE and --frontier"),
        (("--budget", "1 MiB", "--frontier"), "plan needs one of"),
        (("--budget", "0"), "a budget must be more than 0 bytes"),
        (("--budget", "-1"), "is no size in bytes"),
        (("--budget", "1 KiB"), "the smallest budget that can be kept to is"),
    ],
)
def test_what_cannot_be_planned_is_one_line(memprop, given, message):
    status, out, err = memprop("plan", "--depth", 2, "--width", 8, *given)
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_profile_takes_the_users_own_data(memprop, tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, X=np.random.default_rng(0).random((30, 7)), y=np.arange(30) % 3)
    document = json_of(memprop, "profile", "--data", path, "--batch", 8)
    assert document["model"].startswith("MLP([7, *[128] * 4, 3]")


def test_compare_says_what_grew_and_writes_a_page(memprop, tmp_path):
    traces = {}
    for schedule in ("textbook", "lean"):
        traces[schedule] = mp.simulate(mp.MLP([64, 24, 24, 10]), 32, schedule=schedule)
        traces[schedule].save(tmp_path / f"{schedule}.json.gz")
    paths = [tmp_path / f"{schedule}.json.gz" for schedule in traces]
    document = json_of(memprop, "compare", *paths, "-o", tmp_path / "pair.html")
    peaks = [trace.peak for trace in traces.values()]
    rows = document["variables"]
    assert [sum(row[name] for row in rows) for name in ("a_bytes", "b_bytes")] == peaks
    total = document["categories"][-1]
    assert [total["a_bytes"], total["b_bytes"]] == peaks
    assert "<canvas" in (tmp_path / "pair.html").read_text()
    status, out, _ = memprop("compare", *paths)
    assert status == 0
    assert "less at its peak" in out


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A finished sweep: the folder, and what the command printed."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "tiny.toml").write_text(SPEC)
    done = subprocess.run(
        [sys.executable, "-m", "memprop", "sweep", "tiny.toml", "--json"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


def test_a_sweep_leaves_everything_in_its_folder(swept):
    folder, document = swept
    assert (document["ran"], document["failed"]) == (18, 0)
    out = folder / "reports" / "tiny"
    expected = {
        "results.csv", "results.parquet", "report.md", "report.html", "figures",
        "environment.json", "trials.sqlite", "spec.toml", "steps.zip", "frontiers.csv",
    }  # fmt: skip
    assert {path.name for path in out.iterdir()} == expected
    results = mp.load_results(out)
    assert len(results) == 18
    assert (results["predicted_peak"] == results["ledger_peak"]).all()
    growth = results["ledger_peak"] - results["persistent_bytes"]
    off = results["tracemalloc_peak"] - results["ledger_peak"]
    assert ((off >= 0) & (off <= 16 * 1024 + 0.001 * growth)).all()
    assert (results["step_seconds"] > 0).all()
    categories = [name for name in results if name.startswith("peak_") and name != "peak_operator"]
    assert (results[categories].sum(axis=1) == results["ledger_peak"]).all()


def test_results_are_what_a_simulation_says(swept):
    results = mp.load_results(swept[0] / "reports" / "tiny")
    for row in results.itertuples():
        model = mp.MLP([64, *[row.width] * row.depth, 10])
        trace = mp.simulate(model, row.batch, schedule=row.schedule, mode=row.mode)
        assert (row.ledger_peak, row.saved_bytes) == (trace.peak, trace.saved_bytes)


def test_a_sweep_that_is_started_again_runs_nothing_twice(swept):
    folder, _ = swept
    spec, out = folder / "tiny.toml", folder / "reports" / "tiny"
    before = (out / "results.csv").read_bytes()
    again = subprocess.run(
        [sys.executable, "-m", "memprop", "sweep", spec, "--out", out, "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(again.stdout)["ran"] == 0
    assert (out / "results.csv").read_bytes() == before


def test_a_report_can_be_written_again(swept, memprop):
    out = swept[0] / "reports" / "tiny"
    page = (out / "report.html").read_bytes()
    figure = (out / "figures" / "ratio.svg").read_bytes()
    (out / "report.html").unlink()
    status, printed, _ = memprop("report", out)
    assert status == 0
    assert "report.html" in printed
    assert (out / "report.html").read_bytes() == page
    assert (out / "figures" / "ratio.svg").read_bytes() == figure


def test_the_report_of_a_folder_without_stored_steps_says_how_to_get_them(swept, memprop, tmp_path):
    folder = tmp_path / "older"
    shutil.copytree(swept[0] / "reports" / "tiny", folder)
    for name in ("steps.zip", "frontiers.csv"):
        (folder / name).unlink()
    status, printed, _ = memprop("report", folder)
    assert status == 0
    assert f"`memprop sweep SPEC --out {folder}` stores them" in " ".join(printed.split())
    assert json_of(memprop, "report", folder)["steps_stored"] is False


def test_names_are_escaped_in_the_page(swept):
    page = (swept[0] / "reports" / "tiny" / "report.html").read_text()
    assert "A &lt;b&gt;tiny&lt;/b&gt; sweep" in page
    assert "<b>tiny" not in page


def test_a_failed_trial_is_a_row_and_status_1(memprop, tmp_path):
    spec = tmp_path / "small.toml"
    # Enough to start Python and NumPy, too little for a batch of so many samples.
    text = SPEC
    for old, new in {
        "[16, 64]": "[16, 2000000]",
        "[1, 2, 3]": "[1]",
        '["train", "inference"]': '"train"',
        '["textbook", "lean"]': '"textbook"',
        "repeats = 1": 'repeats = 1\nmemory_limit = "1200 MiB"',
    }.items():
        text = text.replace(old, new)
    spec.write_text(text)
    status, out, _ = memprop("sweep", spec, "--out", tmp_path / "out")
    results = mp.load_results(tmp_path / "out")
    assert status == 1
    assert set(results.loc[results["batch"] == 2000000, "status"]) == {"oom"}
    assert set(results.loc[results["batch"] == 16, "status"]) == {"ok"}
    assert "did not run to the end" in out


@thorough
def test_names_in_brackets_are_no_markup(memprop, tmp_path):
    spec = tmp_path / "brackets.toml"
    text = SPEC.replace("A <b>tiny</b> sweep", "[/b] of [red]x").replace("[1, 2, 3]", "1")
    spec.write_text(text.replace("[16, 64]", "8"))
    status, out, _ = memprop("sweep", spec, "--out", tmp_path / "out[/b]")
    assert status == 0
    assert "[/b] of [red]x" in out
    assert "out[/b]" in out.replace("\n", "")


def test_what_json_has_no_number_for_is_null(memprop):
    document = json_of(memprop, "profile", "--l2", 1e300)
    assert document["penalty"] is None


@thorough
def test_a_report_outlives_its_data(memprop, tmp_path):
    data, spec = tmp_path / "mine.csv", tmp_path / "mine.toml"
    data.write_text("1,2,0\n3,4,1\n")
    text = SPEC.replace("[1, 2, 3]", "1").replace("[16, 64]", "8")
    spec.write_text(f"{text}\n[data]\nsource = {str(data)!r}\n")
    assert memprop("sweep", spec, "--out", tmp_path / "out")[0] == 0
    data.write_text("1,2,3,0\n3,4,5,1\n")  # other data are other trials
    status, out, _ = memprop("sweep", spec, "--out", tmp_path / "out", "--json")
    assert (status, json.loads(out)["ran"]) == (0, 3)
    data.unlink()
    assert memprop("report", tmp_path / "out")[0] == 0
    (tmp_path / "out" / "environment.json").write_text("[]")
    status, _, err = memprop("report", tmp_path / "out")
    assert (status, err.count("\n")) == (2, 1)
    assert "damaged" in err


def test_a_full_disk_is_told_in_one_line():
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-m", "memprop", "simulate", "--json"],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("memprop: ")
    assert done.stderr.count("\n") == 1


BAD = {
    "endless budget": (["simulate", "--budget", f"{'9' * 400}.5TiB"], "more than can be had"),
    "no such command": (["profil"], "profil"),
    "no such option": (["profile", "--dept", 3], "--dept"),
    "not a number": (["profile", "--depth", "many"], "expected an integer, got 'many'"),
    "no width": (["profile", "--width", 0], "width must be a positive integer, got 0"),
    "negative depth": (["profile", "--depth", -1], "depth"),
    "batch of 0": (["profile", "--batch", 0], "batch must be a positive integer, got 0"),
    "activation": (["profile", "--activation", "rleu"], "did you mean 'relu'"),
    "schedule": (["profile", "--schedule", "leen"], "did you mean 'lean'"),
    "schedule for training": (["profile", "--schedule", "inference"], "mode"),
    "mode": (["profile", "--mode", "training"], "train, inference"),
    "loss": (["profile", "--loss", "hinge"], "cross_entropy, mse"),
    "optimizer": (["profile", "--optimizer", "adamm"], "did you mean 'adam'"),
    "dtype": (["profile", "--dtype", "float16"], "float32"),
    "seed": (["profile", "--seed", -1], "seed must be an integer of at least 0, got -1"),
    "l2": (["profile", "--l2", -1], "l2"),
    "dropout": (["profile", "--dropout", 1], "dropout must be at least 0 and below 1, got 1.0"),
    "mask": (["profile", "--dropout-mask", "keep"], "Known: regenerate, store"),
    "norm": (["profile", "--norm", "batch"], "unknown norm 'batch'. Known: none, layer"),
    "update": (["profile", "--update", "now"], "Known: at_end, in_backward"),
    "no updates": (["profile", "--update", "in_backward"], "needs an optimizer"),
    "a folder and a budget": (
        ["plan", "--budget", "8 MiB", "--offload", "scratch"],
        "--offload DIR adds a row to the table of --frontier: name both",
    ),
    "no folder": (["profile", "--schedule", "offload:"], "needs a folder to write to"),
    "not a folder": (
        ["profile", "--schedule", "offload:/dev/null/x"],
        "cannot make the folder '/dev/null/x': Not a directory; name a place that can be written",
    ),
    "nothing planned": (["plan"], "plan needs one of --budget SIZE and --frontier"),
    "budget of 0": (["plan", "--budget", 0], "a budget must be more than 0 bytes, got '0'"),
    "negative budget": (["plan", "--budget=-8MiB"], "'-8MiB' is no size"),
    "too small a budget": (
        ["plan", "--budget", "1 KiB"],
        "the smallest budget that can be kept to is 5212244 bytes (5.0 MiB)",
    ),
    "segments of none": (["profile", "--schedule", "every:0"], "a positive integer"),
    "too many slots": (["profile", "--schedule", "revolve:99"], "choose at most revolve:5"),
    "missing data": (["profile", "--data", "nowhere.csv"], "nowhere.csv: there is no such file"),
    "kind of data": (["profile", "--data", "x.txt"], ".npz, .csv, .parquet"),
    "budget": (["simulate", "--budget", "lots"], "'lots' is no size"),
    "no traces": (["compare", "nowhere.json.gz", "nowhere.json.gz"], "nowhere.json.gz"),
    "missing spec": (["sweep", "nowhere.toml"], "nowhere.toml"),
    "no results": (["report", "nowhere"], "nowhere"),
    "unwritable": (["profile", "--out", "/proc/nowhere"], "/proc/nowhere"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_line_and_status_2(memprop, case):
    arguments, part = BAD[case]
    status, out, err = memprop(*arguments)
    assert status == 2
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("memprop: ")
    assert part in err


def test_a_step_that_cannot_fit_is_refused_before_it_runs(memprop):
    status, out, err = memprop("profile", "--batch", 10**11)
    assert (status, out) == (1, "")
    assert err.startswith("memprop: out of memory: the step would take")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("depth = [1, 2, 3]", "depht = 3", "did you mean 'depth'"),
        ("width = 24", 'width = "wide"', "grid.width"),
        ("[measure]", "[measure", "TOML"),
    ],
)
def test_a_bad_spec_names_the_key_and_the_line(memprop, tmp_path, old, new, part):
    spec = tmp_path / "bad.toml"
    spec.write_text(SPEC.replace(old, new))
    status, _, err = memprop("sweep", spec, "--out", tmp_path / "out")
    assert (status, err.count("\n")) == (2, 1)
    assert part in err
    assert "line" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "command", ["profile", "simulate", "sweep", "report", "compare", "export", "doctor"]
)
def test_every_command_has_help_with_an_example(memprop, command):
    status, out, _ = memprop(command, "--help")
    assert status == 0
    assert f"memprop {command}" in out.split("Options")[0].split("For example")[1]


@pytest.mark.parametrize("command", ["profile", "simulate", "plan", "graph"])
def test_the_example_in_the_help_is_one_that_works(memprop, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, out, _ = memprop(command, "--help")
    example = out.split("For example:")[1].strip().splitlines()[0]
    status, _, err = memprop(*shlex.split(example)[1:])
    assert (status, err) == (0, "")


def test_the_installed_command_runs():
    done = subprocess.run(
        [sys.executable, "-m", "memprop", "--version"],
        capture_output=True, text=True, check=True, env={**os.environ, "NO_COLOR": "1"},
    )  # fmt: skip
    assert done.stdout == f"memprop {mp.__version__}\n"


def test_graph_draws_and_tells_what_it_drew(memprop, tmp_path):
    file = tmp_path / "graph.svg"
    status, out, _ = memprop(
        "graph", "--depth", 2, "--width", 8, "--backward", "-o", file, "--json"
    )
    assert status == 0
    assert file.read_text(encoding="utf-8").startswith("<?xml")
    told = json.loads(out)
    assert told["file"] == str(file)
    keys = {node["key"] for node in told["nodes"]}
    assert {"variable z1", "operator linear_2", "variable dW1"} < keys
    assert {end for edge in told["edges"] for end in (edge["source"], edge["target"])} == keys
    assert {edge["kind"] for edge in told["edges"]} == {"forward", "backward", "reuse"}


def test_graph_marks_what_a_schedule_computes_again(memprop, tmp_path):
    file = tmp_path / "graph.mmd"
    command = ("graph", "--depth", 4, "--width", 8, "--schedule", "sqrt", "-o", file)
    status, out, _ = memprop(*command, "--no-fold", "--json")
    assert status == 0
    again = {node["name"] for node in json.loads(out)["nodes"] if node["runs"] > 1}
    assert {"linear_1", "relu_1", "z1", "h1"} <= again
    assert memprop(*command)[1].startswith(str(file))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-o", "graph.jpeg"), "Known: svg, png, pdf, dot, gv, mmd"),
        (("-o", "graph.mmd", "--batch", "0"), "batch must be a positive integer"),
        (("-o", "graph.mmd", "--schedule", "sqr"), "did you mean 'sqrt'"),
        (("-o", "nowhere/graph.mmd"), "nowhere"),
    ],
)
def test_graph_says_what_is_wrong(memprop, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    status, out, err = memprop("graph", *options)
    assert (status, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1
