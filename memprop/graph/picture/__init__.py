"""A graph as a picture: what is drawn as plain data, and the renderers that read it."""

from typing import Final

DEFAULT_BATCH: Final = 64
"""Samples that shapes and bytes in a picture are given for, where nobody says."""
