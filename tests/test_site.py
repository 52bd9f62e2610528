"""The site builds without a warning, is whole, and loads nothing from elsewhere."""

import inspect
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest
from optional import load_optional
from pages import ROOT

import memprop as mp
import memprop.plot
from memprop.cli.app import app
from memprop.sweep.results import column_types
from memprop.sweep.spec import TABLES

LOADED = {"script", "img", "iframe", "source", "video", "audio", "embed", "object"}


class References(HTMLParser):
    """The addresses in a page: those that are loaded with it, and those that are only linked."""

    def __init__(self, page):
        super().__init__()
        self.loaded, self.linked, self.ids = set(), set(), set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.ids.add(given.get("id"))
        if tag in LOADED or (tag == "link" and given.get("rel") not in {"prev", "next"}):
            self.loaded |= {given[name] for name in ("src", "href", "data") if given.get(name)}
        elif tag == "a" and given.get("href"):
            self.linked.add(given["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    for package in ("mkdocs", "mkdocstrings", "nbconvert", "material"):
        load_optional(package)
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site):
    return {page: References(page) for page in site.rglob("*.html") if page.name != "report.html"}


def outside(address):
    return bool(urlsplit(address).netloc)


def test_nothing_is_loaded_from_elsewhere(site, pages):
    assert {a for page in pages.values() for a in page.loaded if outside(a)} == set()
    for style in site.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        assert not re.search(r"""(@import|url\()\s*["']?(https?:)?//""", text), style
    # The theme would fetch the program that draws these.
    assert not any('class="mermaid"' in page.read_text(encoding="utf-8") for page in pages)


def test_every_link_within_the_site_leads_somewhere(site, pages):
    for page, references in pages.items():
        for address in references.loaded | references.linked:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc or page.name == "404.html":
                continue
            target = (page.parent / unquote(parts.path)).resolve()
            target = target / "index.html" if target.is_dir() else target
            assert target.is_file(), f"{page.relative_to(site)} links to {address}"
            if parts.fragment and target in pages:
                assert unquote(parts.fragment) in pages[target].ids, f"{page}: {address}"


def public(module):
    kinds = (inspect.isclass, inspect.isroutine)
    names = [name for name in vars(module) if not name.startswith("_")]
    return {name for name in names if any(kind(getattr(module, name)) for kind in kinds)}


def test_every_public_name_is_in_the_reference(site, pages):
    names = {f"memprop.{name}" for name in public(mp) - {"MempropError", "InfeasibleBudget"}}
    names |= {f"memprop.plot.{name}" for name in memprop.plot.__all__}
    names |= {f"memprop.errors.{name}" for name in ("MempropError", "InfeasibleBudget")}
    names |= {f"memprop.Trace.{name}" for name in vars(mp.Trace) if name.startswith(("to_", "pe"))}
    for adapter in ("torch", "jax"):
        module = load_optional(f"memprop.{adapter}")
        functions = {name for name in public(module) if inspect.isfunction(getattr(module, name))}
        names |= {f"memprop.{adapter}.{name}" for name in functions}
    names -= {"memprop.jax.trace"}  # the old name of simulate
    ids = set().union(*(pages[page].ids for page in (site / "reference").rglob("*.html")))
    assert names <= ids


def test_the_commands_and_the_keys_are_put_in(site):
    commands = (site / "reference" / "command_line" / "index.html").read_text(encoding="utf-8")
    for command in app.registered_commands:
        assert f"Usage: memprop {command.callback.__name__}" in commands
    keys = (site / "reference" / "sweep_spec" / "index.html").read_text(encoding="utf-8")
    for table in TABLES.values():
        assert all(f"<code>{key}</code>" in keys for key in table.model_fields if key not in TABLES)


def test_every_column_of_results_is_explained():
    page = (ROOT / "docs" / "reference" / "results.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?`) \|", page, re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(column_types())


def test_docstrings_leave_no_mark_of_another_markup(site):
    left = re.compile(r":(attr|class|data|exc|func|meth|mod):|<p>:|::</p>|<p>&gt;&gt;&gt;")
    for page in (site / "reference").rglob("index.html"):
        assert not left.search(page.read_text(encoding="utf-8")), page
