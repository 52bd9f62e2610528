"""The contender's end of a contest: a process that does what it is asked, and sleeps otherwise.

A request is a line of JSON on stdin, ``[verb, arguments]``; its answer a line on stdout. The verb
"prepare" makes what all others work on. An exception ends the process: the traceback on stderr is
what the report shows.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

Step = Callable[[], object]


def serve(prepare: Callable[..., Any], **verbs: Callable[..., Any]) -> None:
    """Answer requests until stdin is closed; a verb's function gets what ``prepare`` made."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not look like an answer
    prepared = None
    for line in sys.stdin:
        verb, arguments = json.loads(line)
        if verb == "prepare":
            prepared = None  # let go of the last one before there is the next
            prepared, answer = prepare(**arguments), None
        else:
            answer = verbs[verb](prepared, **arguments)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def warmed(step: Step) -> Step:
    """``step`` after three runs: compiled, and its memory touched."""
    for _ in range(3):
        step()
    return step


def median_seconds(step: Step, seconds: float) -> float:
    """The median time of ``step``, repeated for about ``seconds``, at least once.

    It runs once before: after a sleep caches are cold, threads have to be woken, and pages that
    the system took meanwhile come back one fault at a time.
    """
    step()
    return take_turns({"step": step}, seconds)["step"]


def take_turns(steps: Mapping[str, Step], seconds: float, least: int = 1) -> dict[str, float]:
    """The median time of each of ``steps``, run in turns for ``seconds``, ``least`` times at least.

    One of them runs after another, so that what disturbs one disturbs all.
    """
    taken: dict[str, list[float]] = {name: [] for name in steps}
    end = time.perf_counter() + seconds
    while True:
        for name, step in steps.items():
            begin = time.perf_counter()
            step()
            taken[name].append(time.perf_counter() - begin)
        if time.perf_counter() > end and len(taken[name]) >= least:
            return {name: statistics.median(times) for name, times in taken.items()}
