"""PyTorch modules: one training step as a :class:`memprop.Trace`, real or predicted.

>>> import torch, memprop.torch as mpt
>>> module = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU())
>>> mpt.simulate(module, torch.empty(128, 64)).peak == mpt.trace(module, torch.randn(128, 64)).peak
True
"""

from memprop.errors import MissingExtraError

try:
    import torch as _torch  # noqa: F401 - asked for here, so that the error can say what to do
except ImportError as error:
    raise MissingExtraError(
        'memprop.torch needs PyTorch: pip install "memprop[torch]"', name="torch"
    ) from error

from memprop.torch.auto import auto_checkpoint as auto_checkpoint
from memprop.torch.auto import checkpoint_plan as checkpoint_plan
from memprop.torch.checkpoint.plan import CheckpointPlan as CheckpointPlan
from memprop.torch.chunked import chunked_cross_entropy as chunked_cross_entropy
from memprop.torch.fitting.fit import fit as fit
from memprop.torch.fitting.largest import max_batch as max_batch
from memprop.torch.frontier import frontier as frontier
from memprop.torch.loop import profile as profile
from memprop.torch.ranks import pretend_ranks as pretend_ranks
from memprop.torch.step import simulate as simulate
from memprop.torch.step import trace as trace
from memprop.torch.step_function import simulate_step as simulate_step
from memprop.torch.step_function import trace_step as trace_step
