import pytest

from memprop.machine import choice


@pytest.fixture
def cache_home(tmp_path, monkeypatch):
    """A user's cache folder of its own, and nothing known in this process."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(choice, "_known", {})
    return tmp_path
