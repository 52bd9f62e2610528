"""How fast memprop is, beside its peers and its limits: ``python -m experiments.benchmarks``.

Run it in the root of the repository, with the extras ``all`` and ``benchmarks`` installed (PyTorch,
JAX, memray, scalene; what is absent is reported as that). ``python -m experiments.benchmarks
--quick`` takes a minute and says little; the whole suite takes half an hour and wants the
machine for itself. It writes tables with versions and verdicts to ``reports/speed``.

=============  ====================================================================================
step_time      a training step against the limit of matrix products, PyTorch and JAX
ledger         a step with the ledger on against the same step with recording off
profilers      a NumPy script under memprop's profiler and under those of others
memory         the peak of a step against PyTorch's and JAX's, by the kernel and by their own word
arena          the size of the arena against the largest bytes live in it, and its page faults
recomputation  the slow-down of schedules that recompute against the one predicted
prediction     the time of a simulated step and of many peaks, and how it grows with depth
start          the time of ``import memprop`` and of ``memprop --help``
=============  ====================================================================================

Each contender is a process of its own that loads nothing else (``contenders/``); one runs at a
time, and their turns are interleaved (``contest.py``), so that a noisy machine is noisy for all.

The scripts in this folder answer questions of their own, each when it is run by its path:
``auto_checkpoint.py`` and ``torch_models.py`` are about models of PyTorch,
``checkpoint_seconds.py`` about costs in seconds, ``checkpoint_knob.py`` about torch.compile's
activation_memory_budget beside ``mpt.frontier``, ``checkpoint_exhaustive.py`` about plans beside
the best of all choices (of ``random_graphs.py``), ``plan_frontier.py`` about planning,
``thousand_layers.py`` about training a very deep network, ``offload.py`` about variables that wait
on disk, ``profiler_cost.py`` about what parts of the profiler cost. ``python -m
experiments.benchmarks.ranks`` predicts a model that is sharded over many, ``python -m
experiments.benchmarks.loops`` holds training loops against the CPU allocator.
"""
