"""Where every byte of a training step goes, before and after it runs.

>>> import memprop as mp
>>> model = mp.MLP([64, 256, 10])
>>> mp.simulate(model, batch=256).peak
687188
"""

import typing

from memprop.capacity import max_batch as max_batch
from memprop.capacity import peak_bytes as peak_bytes
from memprop.data import load_data as load_data
from memprop.data import load_digits as load_digits
from memprop.engine.step import Step as Step
from memprop.engine.step import simulate as simulate
from memprop.engine.step import trace as trace
from memprop.errors import InfeasibleBudget as InfeasibleBudget
from memprop.errors import MempropError as MempropError
from memprop.graph.graph import Graph as Graph
from memprop.graph.optimizers import SGD as SGD
from memprop.graph.optimizers import Adam as Adam
from memprop.graph.optimizers import AdamW as AdamW
from memprop.graph.optimizers import Momentum as Momentum
from memprop.models.mlp import MLP as MLP
from memprop.profiler.notebook import load_ipython_extension as load_ipython_extension
from memprop.profiler.profiler import Profiler as Profiler
from memprop.profiler.what_if import what_if as what_if
from memprop.schedules.chain import Chain as Chain
from memprop.schedules.optimal import optimal as optimal
from memprop.schedules.optimal import optimal_frontier as optimal_frontier
from memprop.schedules.schedule import Schedule as Schedule
from memprop.sweep.results import load_results as load_results
from memprop.traces.trace import Trace as Trace
from memprop.tradeoff import frontier as frontier
from memprop.tradeoff import schedule as schedule
from memprop.units import format_bytes as format_bytes
from memprop.units import parse_bytes as parse_bytes
from memprop.version import __version__ as __version__

if typing.TYPE_CHECKING:
    from memprop import plot as plot


def __getattr__(name: str) -> object:
    """``mp.plot``, imported when it is asked for: it brings Matplotlib along."""
    if name == "plot":
        import importlib

        return importlib.import_module("memprop.plot")
    raise AttributeError(f"module 'memprop' has no attribute {name!r}")
