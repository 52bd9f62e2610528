"""Where every byte of a training step goes, before and after it runs.

>>> import memprop as mp
>>> model = mp.MLP([64, 256, 10])
>>> mp.simulate(model, batch=256).peak
687188
"""

import typing

from memprop.version import __version__ as __version__

if typing.TYPE_CHECKING:
    from memprop import errors as errors
    from memprop import plot as plot
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
else:
    # What type checkers read above, imported name by name when it is asked for (PEP 562): most
    # programs use few of these, and all of them take longer to load than NumPy.
    _MODULES = {
        "memprop.capacity": ("max_batch", "peak_bytes"),
        "memprop.data": ("load_data", "load_digits"),
        "memprop.engine.step": ("Step", "simulate", "trace"),
        "memprop.errors": ("InfeasibleBudget", "MempropError"),
        "memprop.graph.graph": ("Graph",),
        "memprop.graph.optimizers": ("SGD", "Adam", "AdamW", "Momentum"),
        "memprop.models.mlp": ("MLP",),
        "memprop.profiler.notebook": ("load_ipython_extension",),
        "memprop.profiler.profiler": ("Profiler",),
        "memprop.profiler.what_if": ("what_if",),
        "memprop.schedules.chain": ("Chain",),
        "memprop.schedules.optimal": ("optimal", "optimal_frontier"),
        "memprop.schedules.schedule": ("Schedule",),
        "memprop.sweep.results": ("load_results",),
        "memprop.traces.trace": ("Trace",),
        "memprop.tradeoff": ("frontier", "schedule"),
        "memprop.units": ("format_bytes", "parse_bytes"),
    }
    _SUBMODULES = ("errors", "plot")
    _HOME = {name: module for module, names in _MODULES.items() for name in names}

    __all__ = sorted(_HOME)

    def __getattr__(name):
        """The public name, imported now."""
        from importlib import import_module

        if name in _SUBMODULES:
            return import_module(f"memprop.{name}")
        if name not in _HOME:
            raise AttributeError(f"module 'memprop' has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(_HOME[name]), name)
        return found

    def __dir__():
        """The public names, loaded or not."""
        return sorted({*globals(), *_HOME, *_SUBMODULES})
