"""All formats, for those who name them."""

from memprop.registry import register
from memprop.traces.exports.format import FORMATS as FORMATS
from memprop.traces.exports.memory_viz import MEMORY_VIZ
from memprop.traces.exports.openmetrics import OPENMETRICS
from memprop.traces.exports.perfetto import PERFETTO
from memprop.traces.exports.stacks import FOLDED, SPEEDSCOPE
from memprop.traces.exports.tables import PARQUET

# A new format is a file and its name here. The order is that in which names are shown.
register(PERFETTO, MEMORY_VIZ, SPEEDSCOPE, FOLDED, PARQUET, OPENMETRICS)
