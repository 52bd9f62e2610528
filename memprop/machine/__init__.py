"""The machine that the work runs on: its CPU, the kernels of its BLAS, the limits of its cgroup.

OpenBLAS has kernels for several generations of CPUs ("core types") and picks one when it is loaded:
by ``OPENBLAS_CORETYPE`` if that is set, else by what it knows of the CPU. Where it does not know
the CPU, or somebody has set the variable for another machine, its products can take twice the time.
:mod:`memprop.machine.choice` measures, once for each machine, which core type is the fastest.
"""
