"""Choices of what runs again, for tests: random ones, and all of a small module."""

from itertools import combinations
from unittest.mock import patch

import asks_for_torch  # noqa: F401

from memprop.torch.checkpoint.curves import gone_through
from memprop.torch.checkpoint.host import LOADED
from memprop.torch.checkpoint.offloading import offloadable
from memprop.torch.checkpoint.planned import planned
from memprop.torch.checkpoint.planning import planning


def units_of(step):
    """Calls that run again together, of which that is possible."""
    calls = (call for call in step.seen.calls if step.can_run_again[call.number])
    return list(dict.fromkeys(step.unit_of[call.number] for call in calls))


def random_choice(step, rng, *, offloads=False):
    """Some of the calls, in groups one within the other or none; others wait on the host."""
    share, groups = rng.random(), rng.choice([0, 1, 3])
    choice = {}
    for unit in units_of(step):
        if rng.random() < share:
            place = unit[0] * groups // len(step.seen.calls)
            choice |= dict.fromkeys(unit, (place,)[: min(groups, rng.randint(0, 1))])
    if offloads:
        kept = gone_through(step, choice).outcome.kept
        waiting = [call for call in offloadable(step, kept) if rng.random() < 0.6]
        choice |= dict.fromkeys(waiting, LOADED)
    return gone_through(step, choice)


def all_on_the_host(step):
    """Nothing runs again, and all that can waits on the host."""
    kept = gone_through(step, {}).outcome.kept
    return gone_through(step, dict.fromkeys(offloadable(step, kept), LOADED))


def everything(step):
    """All that can run again."""
    yield gone_through(step, step.everything())


def every_choice(step):
    """All choices among the units."""
    units = units_of(step)
    for count in range(len(units) + 1):
        for chosen in combinations(units, count):
            yield gone_through(step, {call: () for unit in chosen for call in unit})


def chosen_for(module, inputs, choose, **options):
    """The choices that ``choose`` makes for a step, each with the module that carries it out."""
    with planning(module, inputs, **options) as step:
        found = list(choose(step.step))
        paths = [step.paths(candidate) for candidate in found]
    # Only now: inside the block fake tensors take the place of the module's.
    return [(one, planned(module, *each)) for one, each in zip(found, paths, strict=True)]


def without_trying_every_choice():
    """The planner of chains by itself."""
    return patch("memprop.torch.checkpoint.planner.EVERY_CHOICE", 0)
