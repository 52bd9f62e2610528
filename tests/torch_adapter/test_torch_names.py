"""Who saved what, who reuses it, and in which module: against autograd's own graph."""

import itertools
from collections import Counter

import asks_for_torch  # noqa: F401
import pytest
import torch
import torch_oracles as oracles
import torch_zoo as zoo
from torch import nn

import memprop.torch as mpt
from memprop.traces.events import ALLOCATE


def nodes_of(loss):
    """Every node of the backward graph of a loss."""
    seen, stack = set(), [loss.grad_fn]
    while stack:
        node = stack.pop()
        if node is not None and node not in seen:
            seen.add(node)
            stack.extend(following for following, _ in node.next_functions)
    return seen


def saved_storages(node):
    """The storages that a node saved, from its attributes; numbers of Python are shown as tensors
    there and left out."""
    values = (getattr(node, name) for name in dir(node) if name.startswith("_saved_"))
    values = itertools.chain(values, getattr(node, "saved_tensors", ()))
    return {t.untyped_storage()._cdata for t in values if isinstance(t, torch.Tensor) and t.dim()}


def plain(name):
    """``layers.0/AddmmBackward0#2`` without its path and number."""
    return name.rpartition("/")[2].partition("#")[0]


WITHOUT_CHECKPOINT = sorted(name for name in zoo.ZOO if "checkpoint" not in name)


@pytest.mark.parametrize("name", WITHOUT_CHECKPOINT)
def test_what_backward_reads_is_what_its_nodes_saved(name):
    module, inputs = zoo.build(name)
    known = {t.untyped_storage()._cdata for t in (*module.parameters(), *module.buffers())}
    loss = oracles.scalar(oracles.call(module, inputs))
    expected = Counter()
    for node in nodes_of(loss):
        expected[node.name().rpartition("::")[2]] += len(saved_storages(node) - known)
    del loss
    trace = mpt.trace(*zoo.build(name))
    found = Counter(plain(name) for kept in trace.saved for name in kept.reused_by)
    assert found == +expected


@pytest.mark.parametrize("name", ["mlp", "cnn", "norms", "encoder_layer", "twice", "frozen"])
def test_a_backward_node_belongs_to_the_module_that_made_it(name):
    module, inputs = zoo.build(name)
    expected = set()

    def note(path):
        def hook(part, args, output):
            if output.grad_fn is not None and not list(part.children()):
                expected.add(f"{path}/{output.grad_fn.name()}")

        return hook

    for path, part in module.named_modules():
        if not isinstance(part, nn.MultiheadAttention):  # which takes another path with hooks
            part.register_forward_hook(note(path))
    oracles.call(module, inputs)
    trace = mpt.trace(*zoo.build(name))
    names = {operator.name.partition("#")[0] for operator in trace.operators}
    assert {name for name in expected if "View" not in name} <= names  # a view allocates nothing
    assert expected


def test_a_row_names_the_module_the_operator_and_the_backward_nodes():
    module, x = zoo.build("mlp")
    table = mpt.simulate(module, x, loss=nn.MSELoss(), target=torch.zeros(6, 8)).intermediates()
    rows = {
        row.variable: (row.site, row.layer, row.saved_by, row.reused_by)
        for row in table.astype({"layer": object}).itertuples()
    }
    assert rows == {
        "input": ("", rows["input"][1], "input", ("0/AddmmBackward0",)),
        "1/relu": ("1", 1, "1/relu", ("2/AddmmBackward0", "1/ReluBackward0")),
        "2/addmm": ("2", 2, "2/addmm", ("loss/MseLossBackward0",)),
        "target": ("", rows["target"][1], "input", ("loss/MseLossBackward0",)),
    }


def test_names_of_inputs_are_those_of_forward():
    module, inputs = zoo.build("named")
    trace = mpt.simulate(module, inputs)
    given = {variable.name for variable in trace.variables if variable.category == "input"}
    assert given == {"a", "b", "scale"}


def test_names_of_parameters_gradients_and_states_are_those_of_pytorch():
    module, inputs = zoo.build("tied")
    trace = mpt.trace(module, inputs, optimizer=torch.optim.Adam, warmup=1)
    names = {}
    for variable in trace.variables:
        names.setdefault(variable.category, set()).add(variable.name.partition("#")[0])
    parameters = {"embedding.weight", "hidden.weight", "hidden.bias"}
    assert names["parameter"] == parameters
    assert names["parameter_gradient"] == {f"{name}.grad" for name in parameters}
    states = ("step", "exp_avg", "exp_avg_sq")
    assert names["optimizer_state"] == {f"{n}.{s}" for n in parameters for s in states}


@pytest.mark.parametrize("name", ["checkpoints", "reentrant_checkpoints", "nested_checkpoints"])
def test_recomputed_are_exactly_those_that_would_be_saved_without_a_checkpoint(name, monkeypatch):
    trace = mpt.trace(*zoo.build(name))
    table = trace.intermediates()
    again = table[table["recomputed"]]
    monkeypatch.setattr(zoo, "checkpoint", lambda function, x, use_reentrant: function(x))
    expected = Counter(oracles.hooked_bytes(*zoo.build(name)))
    assert Counter(again["bytes"].tolist()) + Counter(oracles.saved_bytes(trace)) == expected
    assert set(again["saved_by"]) <= {operator.name for operator in trace.operators}
    assert not set(again["variable"]) & {kept.variable for kept in trace.saved}


@pytest.mark.parametrize("name", WITHOUT_CHECKPOINT)
def test_nothing_is_recomputed_without_a_checkpoint(name):
    assert not mpt.trace(*zoo.build(name)).intermediates()["recomputed"].any()


def test_a_recomputed_operator_keeps_its_name_and_number():
    trace = mpt.trace(*zoo.build("checkpoints"))
    forward = [o.name for o in trace.operators if o.phase == "forward"]
    module, inputs = zoo.build("checkpoints")
    once = mpt.simulate(module, inputs, mode="inference")
    assert forward == [operator.name for operator in once.operators]


def test_a_custom_function_is_named_as_in_the_graph():
    module, inputs = zoo.build("custom")
    (kept,) = [one for one in mpt.trace(module, inputs).saved if one.category == "activation"]
    assert plain(kept.saved_by) == "exp"
    assert [plain(name) for name in kept.reused_by] == ["ExpBackward"]


def test_what_a_custom_function_keeps_for_itself_is_seen_too():
    class Hoards(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.kept = x.sin()  # not save_for_backward: the hooks of autograd do not see it
            return x.exp()

        @staticmethod
        def backward(ctx, gradient):
            return gradient * ctx.kept

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(16, 16)

        def forward(self, x):
            return Hoards.apply(self.linear(x))

    x = torch.randn(6, 16)
    trace = mpt.trace(Model(), x)
    hooked = oracles.hooked_bytes(Model(), x)
    assert oracles.saved_bytes(trace) == sorted([*hooked, 6 * 16 * 4])


def test_events_of_views_and_in_place_results_share_a_storage():
    trace = mpt.trace(*zoo.build("in_place"))
    made = trace.events.kind == ALLOCATE
    homes = {
        trace.variables[variable].name: storage
        for variable, storage in zip(
            trace.events.variable[made], trace.events.storage[made], strict=True
        )
    }
    assert homes["1/relu_"] == homes["0/addmm"]
    assert homes["3/silu"] != homes["2/addmm"]
