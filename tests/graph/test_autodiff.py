"""The chain rule over graphs of any shape, not only an MLP's."""

import numpy as np
import pytest
from oracles import central_differences

import memprop as mp
from memprop.engine.arrays import Heap
from memprop.engine.program import compile_schedule
from memprop.engine.run import run
from memprop.errors import GraphError
from memprop.graph.apply import apply_rule
from memprop.graph.autodiff import differentiate
from memprop.graph.graph import Graph, Variable
from memprop.schedules.check import check
from memprop.schedules.lean import lean
from memprop.schedules.textbook import textbook


def build(*steps, outputs=("L",), objective="L"):
    """A graph of float64 from ``(rule, inputs, output)`` steps on x, y, W and V."""
    known = {
        "x": Variable(name="x", shape=("batch", 3), dtype="float64", category="input"),
        "y": Variable(name="y", shape=("batch", 3), dtype="float64", category="input"),
        "W": Variable(name="W", shape=(3, 3), dtype="float64", category="parameter"),
        "V": Variable(name="V", shape=(3, 3), dtype="float64", category="parameter"),
    }
    used = {name for _, inputs, _ in steps for name in inputs}
    operators, made = [], []
    for number, (rule, inputs, output) in enumerate(steps):
        attributes = {"strength": 0.7} if rule == "penalty" else {}
        operator, variables = apply_rule(
            rule,
            operator=f"{rule}_{number}",
            inputs=[known[name] for name in inputs],
            outputs=[(output, "activation")],
            phase="loss" if rule in ("mse", "penalty", "objective") else "forward",
            **attributes,
        )
        operators.append(operator)
        made += variables
        known[output] = variables[0]
    sources = [known[name] for name in ("x", "y", "W", "V") if name in used]
    return Graph(
        variables=(*sources, *made),
        operators=tuple(operators),
        outputs=outputs,
        objective=objective,
    )


SHARED_WEIGHT = build(
    ("linear", ("x", "W"), "z1"),
    ("tanh", ("z1",), "h1"),
    ("linear", ("h1", "W"), "o"),
    ("mse", ("o", "y"), "L"),
)
PENALISED_TWICE = build(
    ("linear", ("x", "W"), "z1"),
    ("sigmoid", ("z1",), "h1"),
    ("linear", ("h1", "W"), "o"),
    ("mse", ("o", "y"), "L"),
    ("penalty", ("W",), "s"),
    ("objective", ("L", "s"), "J"),
    outputs=("L", "s", "J"),
    objective="J",
)
DEAD_END = build(
    ("linear", ("x", "W"), "o"),
    ("linear", ("o", "V"), "unused"),
    ("mse", ("o", "y"), "L"),
)

GRAPHS = {
    "a shared weight": SHARED_WEIGHT,
    "penalised too": PENALISED_TWICE,
    "a dead end": DEAD_END,
}


def outputs_of(schedule, arrays):
    program = compile_schedule(schedule)
    backend = Heap(program, 4, {name: arrays[name] for name in arrays if name in "WV"})
    backend.begin(arrays)
    run(backend.prepared)
    return backend.outputs()


@pytest.mark.parametrize("strategy", [lean, textbook])
@pytest.mark.parametrize("case", GRAPHS)
def test_gradients_are_those_of_central_differences(case, strategy):
    generator = np.random.default_rng(0)
    shapes = {"x": (4, 3), "y": (4, 3), "W": (3, 3), "V": (3, 3)}
    arrays = {name: generator.standard_normal(shape) for name, shape in shapes.items()}
    forward = GRAPHS[case]
    schedule = strategy(forward)
    check(schedule)
    found = outputs_of(schedule, arrays)["dW"].copy()
    expected = central_differences(
        lambda: float(outputs_of(schedule, arrays)[forward.objective]), arrays["W"]
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def test_a_parameter_that_the_objective_does_not_read_has_no_gradient():
    graph = differentiate(DEAD_END)
    assert [name for name in graph.outputs if name.startswith("d")] == ["dW"]


def test_the_objective_must_be_there():
    inference = mp.MLP([2, 2]).graph("inference")
    with pytest.raises(GraphError, match="without an objective"):
        differentiate(inference)


def test_malformed_graphs_name_operator_and_variable():
    good = SHARED_WEIGHT
    backwards = {"operators": good.operators[::-1]}
    with pytest.raises(GraphError, match="mse_3 reads 'o', which nothing before it computes"):
        Graph(**{**parts(good), **backwards})
    with pytest.raises(GraphError, match="two variables are named 'x'"):
        Graph(**{**parts(good), "variables": (*good.variables, good.variables[0])})
    with pytest.raises(GraphError, match="the output 'J' is computed by no operator"):
        Graph(**{**parts(good), "outputs": ("J",)})
    wrong = tuple(
        Variable(name="z1", shape=("batch", 4), dtype="float64", category="activation")
        if variable.name == "z1"
        else variable
        for variable in good.variables
    )
    with pytest.raises(GraphError, match="linear_0 writes z1 as"):
        Graph(**{**parts(good), "variables": wrong})


def parts(graph):
    return {
        "variables": graph.variables,
        "operators": graph.operators,
        "outputs": graph.outputs,
        "objective": graph.objective,
    }
