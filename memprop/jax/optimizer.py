"""The update of an optimizer in the manner of optax, as a jaxpr.

Such an optimizer has ``init(params)``, which makes its state, and ``update(grads, state, params)``,
which returns what is to be added to the parameters, and the new state.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import jax
import jax.numpy as jnp

from memprop.errors import InvalidTypeError, InvalidValueError, MempropError
from memprop.jax.arguments import Argument, positions
from memprop.jax.forms import Program, program


@dataclass(frozen=True, kw_only=True)
class Update:
    """The update of all parameters.

    Attributes:
        program: from the leaves of gradients, state and parameters, and the loss, to those of the
            new parameters and the new state.
        state: the leaves of the state.
    """

    program: Program
    state: tuple[Argument, ...]


def check_optimizer(optimizer: Any, *, donate: bool) -> None:
    """Raise unless there is none, or it has what an optimizer of optax has.

    Raises:
        InvalidTypeError: it lacks ``init`` or ``update``.
        InvalidValueError: there is none, and something is to be donated to it.
    """
    if optimizer is None:
        if donate:
            raise InvalidValueError(
                "donate=True gives parameters and state up for new ones: name the optimizer too"
            )
        return
    if not all(callable(getattr(optimizer, name, None)) for name in ("init", "update")):
        raise InvalidTypeError(
            f"optimizer must have init and update, as those of optax, got {optimizer!r}"
        )


def parameters_of(args: Sequence[Any], argnums: int | Sequence[int] | None) -> Any:
    """The tree that the optimizer gets: an argument, or a tuple if ``argnums`` is no integer."""
    chosen = tuple(args[position] for position in positions(argnums, len(args)))
    return chosen[0] if isinstance(argnums, Integral) else chosen


def state_of(optimizer: Any, parameters: Any) -> Any:
    """The shapes of the state that ``optimizer.init`` makes.

    Raises:
        InvalidValueError: it does not take these parameters.
    """
    return _asked(lambda: jax.eval_shape(optimizer.init, parameters), "init")


def update_of(optimizer: Any, parameters: Any, loss: Any) -> Update:
    """Trace the update of ``parameters``, whose gradients are of the same shapes.

    Args:
        optimizer: as those of optax.
        parameters: a tree of arrays or shapes.
        loss: the shape of the loss, which some optimizers ask for.

    Raises:
        InvalidValueError: the optimizer does not take these parameters.
    """
    state = state_of(optimizer, parameters)
    step = updating(optimizer)
    shapes = jax.eval_shape(lambda tree: tree, parameters)
    made = _asked(lambda: jax.make_jaxpr(step)(shapes, state, shapes, loss), "update")
    leaves = tuple(
        Argument(f"optimizer_state{jax.tree_util.keystr(path)}", leaf, differentiated=False)
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
    )
    return Update(program=program(made), state=leaves)


def updating(optimizer: Any) -> Callable[..., tuple[Any, Any]]:
    """``(grads, state, parameters, loss) -> (new parameters, new state)``."""
    asks = _asks_for_the_loss(optimizer.update)

    def update(grads: Any, state: Any, parameters: Any, loss: Any) -> tuple[Any, Any]:
        extra = {"value": loss, "grad": grads} if asks else {}
        updates, state = optimizer.update(grads, state, parameters, **extra)
        return jax.tree.map(_added, parameters, updates, is_leaf=_is_none), state

    return update


def _asks_for_the_loss(update: Callable[..., Any]) -> bool:
    """Whether it takes more than gradients, state and parameters."""
    kinds = inspect.signature(update).parameters.values()
    return any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in kinds)


def _added(parameter: Any, update: Any) -> Any:
    """As ``optax.apply_updates`` does it."""
    if parameter is None:
        return None
    return jnp.asarray(parameter + update).astype(jnp.asarray(parameter).dtype)


def _is_none(leaf: Any) -> bool:
    return leaf is None


def _asked(do: Callable[[], Any], method: str) -> Any:
    try:
        return do()
    except MempropError:
        raise
    except Exception as error:
        message = (str(error).splitlines() or [""])[0]
        raise InvalidValueError(
            f"optimizer.{method} fails for the parameters that argnums chooses "
            f"({type(error).__name__}: {message})"
        ) from None
