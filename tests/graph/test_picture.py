"""What is drawn of a graph: the section's own picture, all edges, folding, reuse, recomputation."""

from collections import Counter

import pytest
from cases import BLOCKS

import memprop as mp
from memprop.graph.autodiff import differentiate
from memprop.graph.picture.draw import picture_for
from memprop.graph.picture.layout import lay_out
from memprop.traces.devices import loads
from memprop.traces.intermediates import lives

SECTION = mp.MLP([5, 7, 4], bias=False, l2=0.1)
MODELS = {
    "section": SECTION,
    "bias": mp.MLP([5, 7, 7, 7, 4]),
    "mse": mp.MLP([5, 7, 4], loss="mse", activation="gelu", l2=0.1),
    "straight through": mp.MLP([5, 4]),
} | {name: mp.MLP([5, 7, 7, 7, 7, 4], **options) for name, options in BLOCKS.items()}
SCHEDULES = ("textbook", "lean", "sqrt", "every:2", "selective", "microbatch:2", "offload:scratch")

models = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)


def edges_of(graph):
    """Every read and write of a graph, without scratch."""
    for operator in graph.operators:
        yield from ((f"variable {n}", f"operator {operator.name}") for n in operator.inputs)
        yield from ((f"operator {operator.name}", f"variable {n}") for n in operator.outputs)


def test_the_section_has_its_own_picture():
    # Dive into Deep Learning 5.3, figure 5.3.1: squares are variables, circles operators.
    picture = picture_for(SECTION.graph(), batch=3)
    squares = {node.title for node in picture.nodes if node.kind == "variable"}
    circles = Counter(node.title for node in picture.nodes if node.kind == "operator")
    assert squares == {"x", "W1", "z", "h", "W2", "o", "y", "L", "s", "J"}
    assert circles == {"×": 2, "φ": 1, "l": 1, "ℓ2": 1, "+": 1}
    title = {node.key: node.title for node in picture.nodes}
    flows = {(title[edge.source], title[edge.target]) for edge in picture.edges}
    assert flows == {
        ("x", "×"), ("W1", "×"), ("×", "z"), ("z", "φ"), ("φ", "h"), ("h", "×"), ("W2", "×"),
        ("×", "o"), ("o", "l"), ("y", "l"), ("l", "L"), ("W1", "ℓ2"), ("W2", "ℓ2"), ("ℓ2", "s"),
        ("L", "+"), ("s", "+"), ("+", "J"),
    }  # fmt: skip


def test_the_section_is_drawn_from_the_lower_left_to_the_upper_right():
    picture = picture_for(SECTION.graph())
    layout = lay_out(picture)
    x, J = layout.centers["variable x"], layout.centers["variable J"]
    assert x.x == min(center.x for center in layout.centers.values())
    assert J.x == max(center.x for center in layout.centers.values())
    assert x.y < J.y
    for route in layout.routes:
        assert route.points[0].x < route.points[-1].x


def test_partial_derivatives_are_written_as_the_section_writes_them():
    picture = picture_for(SECTION.graph(), backward=True)
    written = {node.name: node.title for node in picture.nodes}
    assert written["dz1"] == "∂J/∂z"
    assert written["dW2"] == "∂J/∂W2"
    assert written["dW2.1"] == "∂J/∂W2 (1)"


@models
@pytest.mark.parametrize("backward", [False, True])
def test_every_edge_of_the_graph_is_drawn_and_no_other(model, backward):
    graph = differentiate(model.graph(), "textbook") if backward else model.graph()
    picture = picture_for(graph, backward=backward, fold=False)
    drawn = [(edge.source, edge.target) for edge in picture.edges]
    assert len(drawn) == len(set(drawn))
    assert set(drawn) == set(edges_of(graph))
    assert {node.key for node in picture.nodes} == {end for edge in drawn for end in edge}


@models
@pytest.mark.parametrize("name", ["textbook", "lean"])
def test_reuse_edges_are_the_reuses_of_the_trace(model, name):
    # The engine's own account of who reads what.
    table = mp.simulate(model, batch=6, schedule=name).intermediates()
    told = {
        (v, by)
        for v, many in zip(table["variable"], table["reused_by"], strict=True)
        for by in many
    }
    schedule = mp.schedule(model, 6, name)
    picture = picture_for(schedule.graph, backward=True, fold=False, batch=6, schedule=schedule)
    name_of = {node.key: node.name for node in picture.nodes}
    reuse = [edge for edge in picture.edges if edge.kind == "reuse"]
    assert {(name_of[edge.source], name_of[edge.target]) for edge in reuse} == told
    assert {node.name for node in picture.nodes if node.cached} == set(table["variable"])


@models
@pytest.mark.parametrize("name", SCHEDULES)
def test_what_is_cached_and_computed_again_is_what_the_trace_says(model, name):
    schedule = mp.schedule(model, 6, name)
    trace = mp.simulate(model, batch=6, schedule=name)
    picture = picture_for(schedule.graph, backward=True, fold=False, batch=6, schedule=schedule)
    first_lives, births, from_disk = {}, Counter(), loads(trace)
    for life in lives(trace):
        first_lives.setdefault(trace.variables[life.variable].name, life)
        births[trace.variables[life.variable].name] += life.maker not in from_disk
    table = trace.intermediates()
    cached = {name for name in table["variable"] if first_lives[name].reused_by}
    cached.update(table.loc[table["offloaded"], "variable"])  # the first value, by way of a disk
    assert {node.name for node in picture.nodes if node.cached} == cached
    for node in picture.nodes:
        if node.kind == "variable":
            assert node.runs == births[node.name], node.name


@pytest.mark.parametrize("backward", [False, True])
@models
def test_folding_keeps_the_sum_of_bytes_and_every_node(model, backward):
    deep = mp.MLP([5, *[7] * 9, 4], **{k: getattr(model, k) for k in ("bias", "l2", "norm")})
    whole = picture_for(deep.graph(), backward=backward, fold=False)
    folded = picture_for(deep.graph(), backward=backward)
    groups = [node for node in folded.nodes if node.kind == "group"]
    assert len(groups) == 1 + backward
    assert sum(node.bytes for node in folded.nodes) == sum(node.bytes for node in whole.nodes)
    members = [key for group in groups for key in group.members]
    single = [node.key for node in folded.nodes if node.kind != "group"]
    assert sorted(members + single) == sorted(node.key for node in whole.nodes)
    for group in groups:
        assert group.bytes == sum(whole.by_key[key].bytes for key in group.members)


def test_64_layers_are_the_first_and_the_last_and_62_between():
    deep = mp.MLP([5, *[7] * 64, 4], bias=False)
    folded = picture_for(deep.graph())
    group = next(node for node in folded.nodes if node.kind == "group")
    assert group.title == "× 62"
    assert group.layers == (2, 63)
    assert {"z1", "h1", "z64", "h64", "o"} < {node.name for node in folded.nodes}
    activations = 2 * 62 * (64 * 7 * 4)
    assert group.bytes == activations + 62 * 7 * 7 * 4


def test_a_thousand_layers_fold_to_as_much_as_ten():
    def size(depth):
        picture = picture_for(mp.MLP([5, *[7] * depth, 4]).graph(), backward=True)
        return len(picture.nodes), len(picture.edges)

    assert size(1000) == size(10)


def test_layers_of_different_widths_are_not_folded():
    picture = picture_for(mp.MLP([3, 4, 5, 6, 7, 8, 9, 10]).graph())
    assert all(node.kind != "group" for node in picture.nodes)


def test_a_schedule_of_another_graph_is_refused():
    schedule = mp.schedule(SECTION, 4, "microbatch:2")
    with pytest.raises(mp.MempropError, match="no operator 'linear_1'"):
        SECTION.graph().draw(schedule=schedule)
