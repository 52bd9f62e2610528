"""Graphs that rules made pass the check that graphs of users must pass."""

import itertools
from dataclasses import replace

import pytest
from cases import ACTIVATIONS, OPTIMIZERS

import memprop as mp
from memprop.errors import GraphError
from memprop.graph.autodiff import differentiate
from memprop.graph.check import check
from memprop.graph.micro_batches import sliced
from memprop.graph.optimizers import optimizer_named, with_updates
from memprop.graph.rules import rule

BLOCKS = (
    {},
    {"norm": "layer", "residual": True, "l2": 0.1},
    {"dropout": 0.5, "dropout_mask": "store", "bias": False},
    {"dropout": 0.5, "loss": "mse", "residual": True},
)
MODELS = [
    mp.MLP([3, 4, 4, 5], activation=activation, **block)
    for activation, block in itertools.product(ACTIVATIONS, BLOCKS)
]


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_a_graph_that_rules_made_passes_the_check(model):
    check(model.graph("inference"))
    for form, forward in itertools.product(
        ("textbook", "lean"), (model.graph(), sliced(model.graph(), 2))
    ):
        check(forward)
        for optimizer in (None, *OPTIMIZERS):
            check(with_updates(differentiate(forward, form), optimizer_named(optimizer)))


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_flops_and_overwrites_are_those_of_the_rules(model):
    graph = with_updates(differentiate(model.graph()), optimizer_named("adam"))
    for operator in graph.operators:
        definition = rule(operator.rule)
        operands = [graph.by_name[name].spec for name in operator.inputs]
        assert graph.flops(operator) == definition.flops(*operands, **dict(operator.attributes))
        always, where_dead = graph.overwrites(operator)
        assert always == operator.pairs(definition.updates)
        assert where_dead == tuple(
            (target, operand)
            for target, operand in operator.pairs(definition.in_place)
            if graph.by_name[target].spec == graph.by_name[operand].spec
        )


def test_a_gradient_cannot_take_the_name_of_a_variable():
    forward = mp.MLP([3, 4, 5]).graph()
    renamed = {"x": "dW1"}
    taken = mp.Graph(
        variables=tuple(replace(v, name=renamed.get(v.name, v.name)) for v in forward.variables),
        operators=tuple(
            replace(op, inputs=tuple(renamed.get(name, name) for name in op.inputs))
            for op in forward.operators
        ),
        outputs=forward.outputs,
        objective=forward.objective,
    )
    with pytest.raises(GraphError, match="two variables are named 'dW1'"):
        differentiate(taken)
