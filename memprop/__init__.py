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
    from memprop.checking.operator import check_operator as check_operator
    from memprop.data import load_data as load_data
    from memprop.data import load_digits as load_digits
    from memprop.engine.rates import Rates as Rates
    from memprop.engine.rates import measure_rates as measure_rates
    from memprop.engine.step import Step as Step
    from memprop.engine.step import simulate as simulate
    from memprop.engine.step import trace as trace
    from memprop.errors import InfeasibleBudget as InfeasibleBudget
    from memprop.errors import MempropError as MempropError
    from memprop.graph.activations import Activation as Activation
    from memprop.graph.graph import Graph as Graph
    from memprop.graph.layers import Layer as Layer
    from memprop.graph.losses import Loss as Loss
    from memprop.graph.operators.adam import Adam as Adam
    from memprop.graph.operators.adam import AdamW as AdamW
    from memprop.graph.operators.addition import Residual as Residual
    from memprop.graph.operators.attention import SelfAttention as SelfAttention
    from memprop.graph.operators.convolution import Conv2d as Conv2d
    from memprop.graph.operators.dropout import Dropout as Dropout
    from memprop.graph.operators.embedding import Embedding as Embedding
    from memprop.graph.operators.flatten import Flatten as Flatten
    from memprop.graph.operators.gelu import GELU as GELU
    from memprop.graph.operators.identity import Identity as Identity
    from memprop.graph.operators.linear import Linear as Linear
    from memprop.graph.operators.momentum import Momentum as Momentum
    from memprop.graph.operators.norm import LayerNorm as LayerNorm
    from memprop.graph.operators.pooling import MaxPool2d as MaxPool2d
    from memprop.graph.operators.relu import ReLU as ReLU
    from memprop.graph.operators.sgd import SGD as SGD
    from memprop.graph.operators.sigmoid import Sigmoid as Sigmoid
    from memprop.graph.operators.silu import SiLU as SiLU
    from memprop.graph.operators.softplus import Softplus as Softplus
    from memprop.graph.operators.tanh import Tanh as Tanh
    from memprop.graph.optimizers import Optimizer as Optimizer
    from memprop.graph.optimizers import update_rule as update_rule
    from memprop.graph.rules import Gradient as Gradient
    from memprop.graph.rules import Rule as Rule
    from memprop.graph.rules import elementwise as elementwise
    from memprop.graph.rules import elementwise_backward as elementwise_backward
    from memprop.models.mlp import MLP as MLP
    from memprop.models.sequential import Sequential as Sequential
    from memprop.profiler.notebook import load_ipython_extension as load_ipython_extension
    from memprop.profiler.profiler import Profiler as Profiler
    from memprop.registry import register as register
    from memprop.schedules.chain import Chain as Chain
    from memprop.schedules.chain import Way as Way
    from memprop.schedules.names import Strategy as Strategy
    from memprop.schedules.optimal import optimal as optimal
    from memprop.schedules.optimal import optimal_frontier as optimal_frontier
    from memprop.schedules.schedule import Schedule as Schedule
    from memprop.sweep.results import load_results as load_results
    from memprop.traces.trace import Trace as Trace
    from memprop.traces.what_if import what_if as what_if
    from memprop.tradeoff import frontier as frontier
    from memprop.tradeoff import schedule as schedule
    from memprop.units import format_bytes as format_bytes
    from memprop.units import parse_bytes as parse_bytes
else:
    # What type checkers read above, imported name by name when it is asked for (PEP 562): most
    # programs use few of these, and all of them take longer to load than NumPy.
    _MODULES = {
        "memprop.capacity": (
            "max_batch",
            "peak_bytes",
        ),
        "memprop.checking.operator": ("check_operator",),
        "memprop.data": (
            "load_data",
            "load_digits",
        ),
        "memprop.engine.rates": (
            "Rates",
            "measure_rates",
        ),
        "memprop.engine.step": (
            "Step",
            "simulate",
            "trace",
        ),
        "memprop.errors": (
            "InfeasibleBudget",
            "MempropError",
        ),
        "memprop.graph.activations": ("Activation",),
        "memprop.graph.graph": ("Graph",),
        "memprop.graph.layers": ("Layer",),
        "memprop.graph.losses": ("Loss",),
        "memprop.graph.operators.adam": (
            "Adam",
            "AdamW",
        ),
        "memprop.graph.operators.addition": ("Residual",),
        "memprop.graph.operators.attention": ("SelfAttention",),
        "memprop.graph.operators.convolution": ("Conv2d",),
        "memprop.graph.operators.dropout": ("Dropout",),
        "memprop.graph.operators.embedding": ("Embedding",),
        "memprop.graph.operators.flatten": ("Flatten",),
        "memprop.graph.operators.gelu": ("GELU",),
        "memprop.graph.operators.identity": ("Identity",),
        "memprop.graph.operators.linear": ("Linear",),
        "memprop.graph.operators.momentum": ("Momentum",),
        "memprop.graph.operators.norm": ("LayerNorm",),
        "memprop.graph.operators.pooling": ("MaxPool2d",),
        "memprop.graph.operators.relu": ("ReLU",),
        "memprop.graph.operators.sgd": ("SGD",),
        "memprop.graph.operators.sigmoid": ("Sigmoid",),
        "memprop.graph.operators.silu": ("SiLU",),
        "memprop.graph.operators.softplus": ("Softplus",),
        "memprop.graph.operators.tanh": ("Tanh",),
        "memprop.graph.optimizers": (
            "Optimizer",
            "update_rule",
        ),
        "memprop.graph.rules": (
            "Gradient",
            "Rule",
            "elementwise",
            "elementwise_backward",
        ),
        "memprop.models.mlp": ("MLP",),
        "memprop.models.sequential": ("Sequential",),
        "memprop.profiler.notebook": ("load_ipython_extension",),
        "memprop.profiler.profiler": ("Profiler",),
        "memprop.traces.what_if": ("what_if",),
        "memprop.registry": ("register",),
        "memprop.schedules.chain": (
            "Chain",
            "Way",
        ),
        "memprop.schedules.names": ("Strategy",),
        "memprop.schedules.optimal": (
            "optimal",
            "optimal_frontier",
        ),
        "memprop.schedules.schedule": ("Schedule",),
        "memprop.sweep.results": ("load_results",),
        "memprop.traces.trace": ("Trace",),
        "memprop.tradeoff": (
            "frontier",
            "schedule",
        ),
        "memprop.units": (
            "format_bytes",
            "parse_bytes",
        ),
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
