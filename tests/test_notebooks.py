"""The notebooks run, without a warning, and print what is stored in them."""

import pytest
from optional import load_optional
from pages import ROOT

NOTEBOOKS = ROOT / "docs" / "notebooks"
NEEDS = {"textbook_network": [], "fit_a_pytorch_model": ["torch"]}
"""The notebooks, and the optional packages that they import."""


def shown(output):
    """A printed text or the value of a cell; of a figure, that there is one."""
    if "data" not in output:
        return output.get("name"), output.get("text")
    return "picture" if "image/png" in output.data else output.data["text/plain"]


def outputs(notebook):
    return [[shown(each) for each in cell.get("outputs", [])] for cell in notebook.cells]


def test_all_notebooks_are_tested():
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == set(NEEDS)


@pytest.mark.parametrize("name", NEEDS)
def test_a_notebook_shows_what_running_it_gives(name):
    nbclient, nbformat, config, *_ = map(
        load_optional, ["nbclient", "nbformat", "traitlets.config", "ipykernel", *NEEDS[name]]
    )
    stored = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    by_files = config.Config({"KernelManager": {"transport": "ipc"}})  # no open port
    fresh = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    nbclient.NotebookClient(fresh, timeout=120, config=by_files).execute()
    assert outputs(fresh) == outputs(stored)
    assert ["picture"] in outputs(stored)
