"""The words that every part of memprop shares: categories of bytes, phases of a step."""

from typing import Final

CATEGORIES: Final = (
    "input",
    "parameter",
    "buffer",
    "activation",
    "activation_gradient",
    "parameter_gradient",
    "optimizer_state",
    "workspace",
    "communication",
)
"""What a byte is for. ``buffer`` is state of a module that is not trained, such as the running
statistics of batch norm; ``activation`` is every variable of the forward pass; ``workspace`` is the
scratch of a kernel; ``communication`` is a buffer through which ranks exchange what they have."""

PERSISTENT: Final = frozenset({"parameter", "buffer", "optimizer_state"})
"""Categories that outlive the step."""

PHASES: Final = ("setup", "forward", "loss", "backward", "update", "end")
"""Parts of a step in order. ``setup`` is what is there before the first operator runs, ``loss``
computes L, s and J from the output, ``end`` frees what the schedule kept to the last."""

OUTSIDE: Final = "outside"
"""The phase of what happens when a phase has ended and none is open."""

MODES: Final = ("train", "inference")
"""``train`` runs the whole step, ``inference`` the forward pass to the output alone."""

UPDATES: Final = ("at_end", "in_backward")
"""When an optimizer updates a parameter: after backward, or as soon as its gradient is complete,
which is then freed."""
