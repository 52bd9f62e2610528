"""The hooks: marker ``peak_memory``, fixture ``memory_trace``, option ``--memprop-update``."""

from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest

from pytest_memprop.stash import NOTE, TRACES, Written

if TYPE_CHECKING:
    from pytest_memprop.fixture import MemoryTrace

_WRITTEN = pytest.StashKey[Written]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--memprop-update``, and in the configuration ``memprop_tolerance``."""
    parser.getgroup("memprop").addoption(
        "--memprop-update",
        action="store_true",
        help="record the traces that tests hand to memory_trace as their budgets",
    )
    told = "by what share of its budget a peak may grow before memory_trace fails"
    parser.addini("memprop_tolerance", told, default="0")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    marker = 'peak_memory(budget): fail if the test allocates more, as "64 MiB", by tracemalloc'
    config.addinivalue_line("markers", marker)
    config.stash[_WRITTEN] = Written()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Hold a marked test to its budget."""
    marker = item.get_closest_marker("peak_memory")
    if marker is None:
        return (yield)
    from pytest_memprop.peak import Peak, budget_of, exceeded

    budget = budget_of(marker)
    with Peak(budget) as peak:
        outcome = yield
    message = exceeded(peak, item.stash.get(TRACES, []))
    if message:
        pytest.fail(message, pytrace=False)
    return outcome


@pytest.fixture
def memory_trace(request: pytest.FixtureRequest) -> "MemoryTrace":
    """Check a step against its recorded budget: ``memory_trace(model, batch=256)``.

    See :class:`pytest_memprop.fixture.MemoryTrace`.
    """
    from pytest_memprop.fixture import MemoryTrace

    return MemoryTrace(request.node, request.config.stash[_WRITTEN])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object) -> None:
    """Take what a worker of pytest-xdist recorded: one process writes the files."""
    config: pytest.Config = node.config  # pyright: ignore[reportAttributeAccessIssue]
    output = getattr(node, "workeroutput", {})
    config.stash[_WRITTEN].add(output.get("memprop", {}))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the budgets, or hand them to the process that writes them."""
    written = session.config.stash[_WRITTEN]
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["memprop"] = written.files
    elif written.files:
        from pytest_memprop.budgets import update

        update(written.files)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say whose peak has shrunk, and what was recorded."""
    reports = terminalreporter.getreports("passed")
    notes = [text for report in reports for key, text in report.user_properties if key == NOTE]
    if notes:
        terminalreporter.section("memory budgets")
        for note in notes:
            terminalreporter.line(str(note))
