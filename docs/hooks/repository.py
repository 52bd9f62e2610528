"""Pages link to the repository's files as they stand in it: what lies outside docs/ comes along.

So one link is right both where the repository is shown and on the site. Markdown that is linked
becomes a page, with what it links to in turn; every other file is copied.
"""

import logging
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
DOCS = "docs"
RENAMED = {"README.md": "overview.md"}  # index.html is that of docs/index.md

_LINK = re.compile(r"(?<=\]\()(?P<target>[^)\s:#]+)(?P<anchor>#[^)\s]*)?(?=\))")
_log = logging.getLogger("mkdocs.hooks.repository")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add every file outside docs/ that a page, or one of the files added, links to."""
    waiting = [f"{DOCS}/{file.src_uri}" for file in files.documentation_pages()]
    seen = set(waiting)
    while waiting:
        for target in _linked_from(waiting.pop()):
            if target in seen or target.startswith(f"{DOCS}/"):
                continue
            seen.add(target)
            files.append(
                File.generated(config, _on_the_site(target), abs_src_path=str(ROOT / target))
            )
            if target.endswith(".md"):
                waiting.append(target)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn each link of a page into the one that is right on the site."""
    here = _in_the_repository(page.file.src_uri)

    def rewritten(link: re.Match[str]) -> str:
        target = _on_the_site(_resolved(here, link["target"]))
        start = posixpath.dirname(page.file.src_uri) or "."
        return posixpath.relpath(target, start) + (link["anchor"] or "")

    return _LINK.sub(rewritten, markdown)


def _linked_from(page: str) -> Iterator[str]:
    path = ROOT / page
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    for link in _LINK.finditer(text):
        target = _resolved(page, link["target"])
        if (ROOT / target).is_file():
            yield target
        else:
            _log.warning("%s links to %s, which is no file of the repository", page, target)


def _resolved(page: str, link: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), link))


def _on_the_site(path: str) -> str:
    inside = path.removeprefix(f"{DOCS}/")
    if path.endswith(".ipynb"):
        return str(PurePosixPath(inside).with_suffix(".md"))
    return RENAMED.get(path, inside)


def _in_the_repository(uri: str) -> str:
    original = {new: old for old, new in RENAMED.items()}.get(uri, uri)
    inside = ROOT / DOCS / original
    notebook = inside.with_suffix(".ipynb")
    return f"{DOCS}/{original}" if inside.exists() or notebook.exists() else original
