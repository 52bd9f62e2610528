"""Contenders in turns: each is a process, and one runs at a time while the others sleep."""

import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final, Self

from experiments.benchmarks.contestant import ContenderFailed, Contestant
from experiments.benchmarks.lineup import Contender
from experiments.benchmarks.outcome import Outcome

_PAUSE_SECONDS: Final = 0.03
"""Between two turns: threads of BLAS and OpenMP spin for a while before they sleep."""

_HOPELESS: Final = 1.3
"""A number of threads this much slower than another one of the same name runs no further."""

_FAIR: Final = 2
"""Rounds before that is judged: one may have been disturbed."""


class Contest:
    """The processes of contenders. One that has failed is started again for the next race."""

    def __init__(self, contenders: Iterable[Contender]) -> None:
        self.contenders = list(contenders)
        self._running: dict[Contender, Contestant] = {}

    def race(self, step: dict[str, Any], rounds: int, seconds: float) -> list[Outcome]:
        """Run a step with every contender, in interleaved rounds.

        Args:
            step: what contenders are asked to prepare.
            rounds: how many turns each gets.
            seconds: the length of a turn, in which steps are repeated.
        """
        outcomes = [self._prepared(contender, step) for contender in self.contenders]
        for _ in range(rounds):
            outcomes = hopeless([self._turn(outcome, seconds) for outcome in outcomes])
        return outcomes

    def ask(self, contender: Contender, verb: str, **arguments: Any) -> Any:
        """A contender's answer to a request.

        Raises:
            ContenderFailed: it is not installed, or its process ended.
        """
        if contender not in self._running:
            self._running[contender] = Contestant(contender)
        time.sleep(_PAUSE_SECONDS)
        try:
            return self._running[contender].ask(verb, **arguments)
        except ContenderFailed:
            self._running.pop(contender).close()
            raise

    def _prepared(self, contender: Contender, step: dict[str, Any]) -> Outcome:
        try:
            self.ask(contender, "prepare", **step)
        except ContenderFailed as failure:
            return Outcome(contender, note=str(failure))
        return Outcome(contender)

    def _turn(self, outcome: Outcome, seconds: float) -> Outcome:
        if outcome.note:
            return outcome
        try:
            taken = self.ask(outcome.contender, "seconds", seconds=seconds)
        except ContenderFailed as failure:
            return replace(outcome, note=str(failure))
        return replace(outcome, rounds=(*outcome.rounds, taken))

    def __enter__(self) -> Self:
        """Start all processes that can be, so that they load what they need side by side."""
        able = [contender for contender in self.contenders if not contender.absent]
        self._running = {contender: Contestant(contender) for contender in able}
        return self

    def __exit__(self, *_: object) -> None:
        for contestant in self._running.values():
            contestant.close()


def hopeless(outcomes: list[Outcome]) -> list[Outcome]:
    """``outcomes``, with a note on those that are much slower on this number of threads."""
    return [_judged(outcome, outcomes) for outcome in outcomes]


def _judged(outcome: Outcome, outcomes: list[Outcome]) -> Outcome:
    if outcome.note or len(outcome.rounds) < _FAIR:
        return outcome
    name = outcome.contender.name
    rivals = [o for o in outcomes if o.contender.name == name and not o.note]
    fastest = min(o.spread.median for o in rivals)
    slow = outcome.spread.median > _HOPELESS * fastest
    return replace(outcome, note="slower on this number of threads") if slow else outcome
