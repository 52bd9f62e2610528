"""The files that a picture is written to: their syntax, escapes, and that equal twice."""

import html
import re
from collections import Counter
from dataclasses import replace

import pydot
import pytest
from optional import thorough

import memprop as mp
from memprop.graph.graph import Graph
from memprop.graph.picture.draw import FORMATS, picture_for, save

MODEL = mp.MLP([5, *[7] * 6, 4], l2=0.1)
ODD = ('say "x"', "$a$ < b & c", "back\\slash\\n", "[a](b) {c} | `d`;", "end")


def with_odd_names():
    """The section's graph with names that every format could read as something else."""
    graph = mp.MLP([5, 7, 4], bias=False).graph()
    new = dict(zip(("x", "W1", "z1", "h1", "relu_1"), ODD, strict=True))

    def renamed(names):
        return tuple(new.get(name, name) for name in names)

    return Graph(
        variables=tuple(replace(v, name=new.get(v.name, v.name)) for v in graph.variables),
        operators=tuple(
            replace(
                op,
                name=new.get(op.name, op.name),
                inputs=renamed(op.inputs),
                outputs=renamed(op.outputs),
            )
            for op in graph.operators
        ),
        outputs=graph.outputs,
        objective=graph.objective,
    )


GRAPHS = {"plain": MODEL.graph(), "odd names": with_odd_names()}
graphs = pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)


def unquoted(text):
    """A quoted string of DOT as Graphviz reads it (https://graphviz.org/doc/info/lang.html)."""
    assert text[0] == text[-1] == '"'
    return re.sub(r"\\(.)", lambda m: {"n": "\n"}.get(m[1], m[1]), text[1:-1])


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")  # pydot's use of pyparsing
@graphs
def test_dot_says_what_the_picture_says(graph):
    picture = picture_for(graph, backward=True)
    (parsed,) = pydot.graph_from_dot_data(graph.to_dot(backward=True))
    nodes = {unquoted(n.get_name()): n for n in parsed.get_nodes() if n.get_name()[0] == '"'}
    assert nodes.keys() == picture.by_key.keys()
    for key, node in picture.by_key.items():
        assert unquoted(nodes[key].get("label")) == "\n".join((node.title, *node.lines))
    found = [(unquoted(e.get_source()), unquoted(e.get_destination())) for e in parsed.get_edges()]
    assert sorted(found) == sorted((edge.source, edge.target) for edge in picture.edges)
    dashed = sum(unquoted(edge.get("style")) == "dashed" for edge in parsed.get_edges())
    assert dashed == sum(edge.kind == "reuse" for edge in picture.edges) > 0


NODE = re.compile(r'  (n\d+)(?:\["([^"]*)"\]|\(\["([^"]*)"\]\)|\[\["([^"]*)"\]\])')
EDGE = re.compile(r"  (n\d+) (-->|-\.->) (n\d+)")
STYLE = re.compile(r"  (style n\d+|linkStyle [\d,]+) [a-z-]+:[^,;]+(,[a-z-]+:[^,;]+)*")


def read_mermaid(text):
    """Nodes and edges of a flowchart in the grammar of mermaid.js.org/syntax/flowchart.html."""
    comment, kind, *lines = text.splitlines()
    assert comment.startswith("%% ")
    assert kind == "flowchart LR"
    nodes, edges = {}, []
    for line in lines:
        if match := NODE.fullmatch(line):
            label = next(filter(None, match.groups()[1:]))
            assert not set(label.replace("<br/>", "")) & set('"<>&$`[](){}|\\')
            nodes[match[1]] = html.unescape(re.sub(r"#(\d+);", r"&#\1;", label))
        elif match := EDGE.fullmatch(line):
            edges.append((match[1], match[3], match[2]))
        else:
            assert STYLE.fullmatch(line), line
    return nodes, edges


@graphs
def test_mermaid_says_what_the_picture_says(graph):
    picture = picture_for(graph, backward=True)
    nodes, edges = read_mermaid(graph.to_mermaid(backward=True))
    told = ["<br/>".join((node.title, *node.lines)) for node in picture.nodes]
    assert list(nodes.values()) == told
    keys = dict(zip(nodes, (node.key for node in picture.nodes), strict=True))
    assert [(keys[a], keys[b]) for a, b, _ in edges] == [
        (e.source, e.target) for e in picture.edges
    ]
    kinds = Counter(arrow for _, _, arrow in edges)
    assert kinds["-.->"] == sum(edge.kind == "reuse" for edge in picture.edges) > 0


@thorough
@graphs
@pytest.mark.parametrize("suffix", FORMATS)
def test_the_same_graph_is_the_same_file(graph, suffix, tmp_path):
    first, second = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"
    save(graph, first, backward=True)
    save(graph, second, backward=True)
    assert first.read_bytes() == second.read_bytes()
    assert first.stat().st_size > 1000


def test_text_is_returned_and_written_alike(tmp_path):
    for to_text in (MODEL.graph().to_dot, MODEL.graph().to_mermaid):
        text = to_text(tmp_path / "graph")
        assert (tmp_path / "graph").read_text(encoding="utf-8") == text


@pytest.mark.parametrize("suffix", ["dot", "gv", "mmd"])
def test_draw_still_gives_text_and_warns(suffix, tmp_path):
    graph = MODEL.graph()
    method = "to_mermaid" if suffix == "mmd" else "to_dot"
    text = getattr(graph, method)()
    with pytest.warns(DeprecationWarning, match=f"for text use {method}"):
        assert graph.draw(tmp_path / f"graph.{suffix}") == text
    assert (tmp_path / f"graph.{suffix}").read_text(encoding="utf-8") == text
    with pytest.warns(DeprecationWarning, match=f"for text use {method}"):
        assert graph.draw(format=suffix) == text


def test_an_unknown_suffix_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(mp.MempropError, match="svg, png, pdf, dot, gv, mmd"):
        MODEL.graph().draw(tmp_path / "graph.jpeg")
    with pytest.raises(mp.MempropError, match="svg, png, pdf, dot, gv, mmd"):
        MODEL.graph().draw(tmp_path / "graph")


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    for suffix in ("svg", "mmd"):
        with pytest.raises(mp.MempropError, match="nowhere"):
            save(MODEL.graph(), tmp_path / "nowhere" / f"graph.{suffix}")


@pytest.mark.parametrize("wrong", [{"batch": 0}, {"format": "dot", "ax": object()}])
def test_impossible_arguments_are_refused(wrong):
    with pytest.raises(mp.MempropError):
        MODEL.graph().draw(**wrong)
