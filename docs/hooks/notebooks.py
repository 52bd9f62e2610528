"""Notebooks as pages, with the outputs that are stored in them; nothing is run."""

from pathlib import PurePosixPath

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Beside each notebook, which stays to be downloaded, a page and its pictures."""
    for notebook in [file for file in files if file.src_uri.endswith(".ipynb")]:
        for page in _pages_of(notebook, config):
            files.append(page)
    return files


def _pages_of(notebook: File, config: MkDocsConfig) -> list[File]:
    place = PurePosixPath(notebook.src_uri)
    stored = nbformat.reads(notebook.content_string, as_version=4)
    text, resources = MarkdownExporter().from_notebook_node(
        stored, resources={"unique_key": place.stem, "output_files_dir": f"{place.stem}_files"}
    )
    page = File.generated(config, str(place.with_suffix(".md")), content=text)
    pictures = [
        File.generated(config, str(place.parent / name), content=picture)
        for name, picture in resources["outputs"].items()
    ]
    return [page, *pictures]
