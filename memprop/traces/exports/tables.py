"""All that a trace knows of its events in one table, and that table as a file of Parquet."""

import io
import json
from typing import TYPE_CHECKING, Final

import numpy as np

from memprop.traces.exports.format import Format
from memprop.traces.timeline import timeline

if TYPE_CHECKING:
    import pandas as pd

    from memprop.traces.trace import Trace


def dataframe(trace: "Trace") -> "pd.DataFrame":
    """The timeline, with the variable and the operator of each event.

    Columns beyond those of :func:`memprop.traces.timeline.timeline`: ``category``, ``layer``,
    ``shape``, ``dtype``, ``variable_bytes``, ``variable_site`` and ``variable_line`` of the
    variable; ``storage`` and ``storage_bytes``, the buffer that it lives in; ``operator_layer``,
    ``operator_site`` and ``flops`` of the operator, missing where none runs.
    """
    import pandas as pd

    events, variables = trace.events, [trace.variables[n] for n in trace.events.variable]
    ran = [trace.operators[n] if n >= 0 else None for n in events.operator]

    def counted(values: list[int | None]) -> "pd.api.extensions.ExtensionArray":
        return pd.array(values, dtype="Int64")

    return timeline(trace).assign(
        category=[variable.category for variable in variables],
        layer=counted([variable.layer for variable in variables]),
        shape=[variable.shape for variable in variables],
        dtype=[variable.dtype for variable in variables],
        variable_bytes=np.array([variable.bytes for variable in variables], dtype=np.int64),
        variable_site=[variable.site for variable in variables],
        variable_line=[variable.line for variable in variables],
        storage=events.storage,
        storage_bytes=events.bytes,
        operator_layer=counted([None if one is None else one.layer for one in ran]),
        operator_site=["" if one is None else one.site for one in ran],
        flops=counted([None if one is None else one.flops for one in ran]),
    )


def parquet(trace: "Trace") -> bytes:
    """The table as Parquet; what was run stands in the file's metadata as ``memprop.about``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(dataframe(trace), preserve_index=False)
    about = json.dumps({key: str(value) for key, value in trace.about.items()})
    table = table.replace_schema_metadata(
        {**(table.schema.metadata or {}), b"memprop.about": about.encode()}
    )
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


PARQUET: Final = Format(name="parquet", suffix=".parquet", encode=parquet)
