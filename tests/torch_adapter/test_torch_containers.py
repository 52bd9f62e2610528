"""Containers of a user's own classes are looked at, and put back, past what their methods do."""

from collections import Counter, OrderedDict, defaultdict, deque

import asks_for_torch  # noqa: F401
import pytest
import torch

import memprop.torch as mpt

FILLED = {
    dict: lambda base, one: dict.__setitem__(one, "key", 1),
    OrderedDict: lambda base, one: OrderedDict.__setitem__(one, "key", 1),
    defaultdict: lambda base, one: dict.__setitem__(one, "key", 1),
    Counter: lambda base, one: dict.__setitem__(one, "key", 1),
    list: lambda base, one: list.append(one, 1),
    deque: lambda base, one: deque.append(one, 1),
    set: lambda base, one: set.add(one, 1),
}
"""Bases of containers, and how something gets into one, past methods of its class."""

METHODS = (
    *("__getitem__", "__iter__", "__len__", "__eq__", "__contains__", "__bool__"),
    *("keys", "values", "items", "get", "copy", "clear", "update", "extend"),
)


def refuses(*args, **kwargs):
    raise AssertionError("a method of the user's was called")


def held(base, one):
    """What a container holds."""
    kind = OrderedDict if base is OrderedDict else dict if issubclass(base, dict) else base
    return list(kind.items(one)) if issubclass(kind, dict) else list(kind.__iter__(one))


def module_with(base):
    """A module with such a container, in which its forward pass puts something."""
    unhashable = {} if base is not set else {"__hash__": object.__hash__}
    kind = type(
        "Own", (base,), {name: refuses for name in METHODS if name in dir(base)} | unhashable
    )
    kind.__module__ = __name__

    class Keeps(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(4, 4)
            self.kept = kind.__new__(kind)

        def forward(self, x):
            FILLED[base](base, self.kept)
            return torch.tanh(self.linear(x))

    return Keeps()


@pytest.mark.parametrize("base", FILLED)
def test_what_a_container_holds_is_put_back(base):
    module = module_with(base)
    mpt.simulate(module, torch.ones(2, 4), warmup=1)
    assert held(base, module.kept) == []
    mpt.frontier(module, torch.ones(2, 4))
    assert held(base, module.kept) == []


def test_a_table_that_makes_what_it_is_asked_for_is_not_asked():
    class Makes(OrderedDict):
        def __getitem__(self, key):
            return OrderedDict.__getitem__(self, key)()

    def fails():
        raise AssertionError("nobody asked for it")

    module = torch.nn.Linear(4, 4)
    vars(module)["makers"] = Makes(fails=fails)
    peak = mpt.simulate(module, torch.ones(2, 4)).peak
    assert peak == mpt.simulate(torch.nn.Linear(4, 4), torch.ones(2, 4)).peak
