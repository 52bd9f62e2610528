"""All formats, for those who name them.

A new one is a file here and its name in this list, whose order is that in which names are shown.
"""

from importlib import import_module

from memprop.traces.exports.format import FORMATS as FORMATS

for _name in ("perfetto", "memory_viz", "stacks", "tables", "openmetrics"):
    import_module(f"memprop.traces.exports.{_name}")
