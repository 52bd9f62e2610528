"""``budget:BYTES``: the least recomputation that keeps to a number of bytes, or to a share.

What plans is loaded when a budget is asked for.
"""

from functools import partial
from typing import TYPE_CHECKING, Final

from memprop.errors import InvalidValueError
from memprop.schedules.recompute import in_that_order
from memprop.schedules.schedule import Schedule
from memprop.schedules.strategies import Request, Strategy, is_count

if TYPE_CHECKING:
    from memprop.schedules.budget import BudgetFraction


def budgeted(request: Request) -> Schedule:
    """The schedule that keeps to the budget of a request."""
    from memprop.schedules.budget import within_budget
    from memprop.schedules.micro_batch_budget import within_budget_in_micro_batches

    assert request.batch is not None  # noqa: S101 - a budget depends on the batch
    if request.micro_batches > 1:
        return within_budget_in_micro_batches(
            request.name,
            request.argument,
            request.forward,
            request.optimizer,
            request.batch,
            request.micro_batches,
        )
    order = partial(within_budget, given=request.argument, batch=request.batch)
    return in_that_order(request.name, order, request.forward, request.optimizer, request.update)


def _budget(text: str) -> "int | BudgetFraction":
    """A budget in bytes, or in percent of the peak of "lean"."""
    from memprop.schedules.budget import BudgetFraction
    from memprop.schedules.optimal import check_budget

    if not text.endswith("%"):
        return check_budget(text)
    percent = text[:-1].strip()
    if not is_count(percent, 100):
        raise InvalidValueError(
            f"a budget in percent is a whole number from 1 to 100, as in 'budget:50%', got {text!r}"
        )
    return BudgetFraction(int(percent))


BUDGET: Final = Strategy(
    name="budget",
    plan=budgeted,
    number="BYTES",
    counts="bytes",
    read=_budget,
    example="95%",
    depends_on_batch=True,
)
