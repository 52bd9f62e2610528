import json
import os
from pathlib import Path

import numpy as np
import psutil
import pytest

from memprop.sweep.environment import environment


def test_it_can_be_written_as_json_and_says_what_was_used():
    found = json.loads(json.dumps(environment()))
    assert found["versions"]["numpy"] == np.__version__
    assert found["versions"]["python"].count(".") == 2
    assert found["versions"]["memprop"]
    assert found["system"]["cores"] == os.cpu_count()
    assert found["system"]["memory_bytes"] == psutil.virtual_memory().total
    assert found["blas"]["name"]


def test_the_command_has_no_path_of_a_user(monkeypatch):
    below_home = str(Path.home() / "results")
    here = str(Path.cwd() / "spec.toml")
    elsewhere = f"/elsewhere{here}"
    arguments = ["/opt/bin/memprop", "sweep", here, f"--out={below_home}", elsewhere]
    monkeypatch.setattr("sys.argv", arguments)
    command = environment()["command"]
    assert command == ["memprop", "sweep", "spec.toml", "--out=~/results", elsewhere]


def test_settings_of_threads_are_there_if_they_are_set(monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    variables = environment()["variables"]
    assert variables["OPENBLAS_NUM_THREADS"] == "1"
    assert "MKL_NUM_THREADS" not in variables


@pytest.mark.parametrize("words", ["directory", "/project", "/opt/_internal"])
def test_where_numpy_was_built_is_left_out(words):
    assert words not in json.dumps(environment()["blas"])
