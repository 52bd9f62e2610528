"""Every block of the pages on what to do is run, and prints what the page shows."""

import ast
import subprocess

import matplotlib.pyplot as plt
import pytest
from optional import load_optional
from pages import ROOT, examples, run, same

NEEDS = {
    "docs/will_it_fit.md": ["torch"],
    "docs/what_to_recompute.md": ["torch"],
    "docs/profile_my_model.md": ["torch", "jax"],
    "docs/sweep_on_a_cluster.md": ["distributed"],
    "docs/exports.md": [],
    "docs/reference/python.md": [],
    "docs/reference/results.md": [],
    "docs/reference/sweep_spec.md": [],
}
"""The pages, and the optional packages that their examples import."""

ELSEWHERE = ("machines.txt", "SCHEDULER", "dask_jobqueue")
"""Words of blocks that need machines which a test does not have; they are only parsed."""


@pytest.mark.parametrize("page", NEEDS)
def test_the_page_shows_what_its_examples_print(page, tmp_path, monkeypatch):
    for package in NEEDS[page]:
        load_optional(package)
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "showcase").symlink_to(ROOT / "reports" / "showcase")
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    found = [one for one in examples(page) if one.language in ("python", "sh") or one.title]
    for example in found:
        if any(word in example.code for word in ELSEWHERE):
            parse(example)
            continue
        printed = run(example, tmp_path, names)
        if example.printed is not None:
            assert same(example.printed, printed), f"{example.code}prints\n{printed}"
    plt.close("all")


def parse(example):
    if example.language == "python":
        ast.parse(example.code)
    else:
        subprocess.run(["bash", "-n", "-c", example.code], check=True)
