"""Imported before anything of PyTorch: skips the tests if it is not installed."""

from optional import load_optional

load_optional("torch")
