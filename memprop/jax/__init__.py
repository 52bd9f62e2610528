"""Functions of JAX, differentiated: the same Trace, from the jaxpr, with nothing allocated.

>>> import memprop.jax as mpj  # doctest: +SKIP
>>> mpj.simulate(loss, parameters, x, y).peak_by_category()  # doctest: +SKIP
>>> mpj.simulate(loss, parameters, x, y, optimizer=optax.adam(1e-3)).peak  # doctest: +SKIP
>>> mpj.simulate_step(step, parameters, opt_state, x, y).peak  # doctest: +SKIP
>>> mpj.saved_residuals(loss, parameters, x, y)  # doctest: +SKIP
>>> mpj.compiled_memory(loss, parameters, x, y)  # doctest: +SKIP

:func:`profile` follows a loop of steps that really run, by the arrays that live between them.

Arguments may be arrays or ``jax.ShapeDtypeStruct``. What the figures mean, and what they do not:
:mod:`memprop.jax.step`.
"""

from memprop.errors import MissingExtraError

try:
    import jax as _jax  # noqa: F401 - only whether it is there
except ImportError:
    raise MissingExtraError('memprop.jax needs JAX: pip install "memprop[jax]"') from None

from memprop.jax.compiled import compiled_memory as compiled_memory
from memprop.jax.live import profile as profile
from memprop.jax.residuals import saved_residuals as saved_residuals
from memprop.jax.step import simulate as simulate
from memprop.jax.step import trace as trace
from memprop.jax.train_step import simulate_step as simulate_step
