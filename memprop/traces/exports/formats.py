"""The formats by name, for those who name them."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from memprop.errors import unknown_name
from memprop.traces.exports.memory_viz import memory_viz
from memprop.traces.exports.openmetrics import openmetrics
from memprop.traces.exports.perfetto import perfetto
from memprop.traces.exports.stacks import folded, speedscope
from memprop.traces.exports.tables import parquet

if TYPE_CHECKING:
    from memprop.traces.trace import Trace


class Format(NamedTuple):
    """How a trace is written in a format, and how the name of such a file ends."""

    suffix: str
    encode: "Callable[[Trace], bytes]"


FORMATS: Final = {
    "perfetto": Format(".perfetto.json", perfetto),
    "memory_viz": Format(".pickle", memory_viz),
    "speedscope": Format(".speedscope.json", speedscope),
    "folded": Format(".folded.txt", folded),
    "parquet": Format(".parquet", parquet),
    "openmetrics": Format(
        ".prom", lambda trace: openmetrics(trace).encode(errors="backslashreplace")
    ),
}


def format_named(name: str) -> Format:
    """The format of that name.

    Raises:
        UnknownNameError: there is none.
    """
    if name not in FORMATS:
        raise unknown_name("format", name, FORMATS)
    return FORMATS[name]
