"""Names as Dive into Deep Learning 5.3 writes them: z, h for the only hidden layer, ∂J/∂W1."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

from memprop.graph.nodes import Variable
from memprop.graph.rules import RULES

_NUMBERED: Final = re.compile(r"(?P<base>[A-Za-z]+)(?P<number>\d+)(?P<rest>@\d+)?")
_GRADIENTS: Final = ("activation_gradient", "parameter_gradient")


def symbol(rule: str) -> str:
    """The sign of an operator: × for products, φ for activations, φ′ for their derivatives."""
    known = RULES.get(rule)
    return known.symbol if known is not None and known.symbol else rule


def titles(variables: Iterable[Variable], objective: str | None) -> dict[str, str]:
    """How each variable is written, by name.

    The number of a layer is left out where it tells nothing apart: with one hidden layer z1 is z,
    while W1 and W2 keep theirs. A gradient dW1 is ∂J/∂W1, its partial sums dW1.1 are ∂J/∂W1 (1).
    """
    listed = list(variables)
    plain = [v.name for v in listed if v.category not in _GRADIENTS]
    short = _without_idle_numbers(plain)
    return {v.name: _title(v, short, objective) for v in listed}


def _title(variable: Variable, short: Mapping[str, str], objective: str | None) -> str:
    name = variable.name
    if variable.category not in _GRADIENTS or objective is None or not name.startswith("d"):
        return short.get(name, name)
    of, dot, part = name[1:].partition(".")
    if of not in short:
        return name
    return f"∂{objective}/∂{short[of]}" + (f" ({part})" if dot else "")


def _without_idle_numbers(names: list[str]) -> dict[str, str]:
    numbers: defaultdict[str, set[str]] = defaultdict(set)
    matches = {name: _NUMBERED.fullmatch(name) for name in names}
    for match in filter(None, matches.values()):
        numbers[match["base"]].add(match["number"])
    made = {}
    for name, match in matches.items():
        idle = match is not None and numbers[match["base"]] == {"1"}
        short = match["base"] + (match["rest"] or "") if match is not None and idle else name
        made[name] = name if short in matches else short
    return made


def written_shape(shape: tuple[int, ...]) -> str:
    """``64 × 256``; a scalar has no extent.

    >>> written_shape((64, 256)), written_shape(())
    ('64 × 256', 'scalar')
    """
    return " × ".join(map(str, shape)) or "scalar"
