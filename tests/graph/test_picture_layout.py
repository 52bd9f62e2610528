"""Nothing lies over anything else: nodes, labels, and edges that run around them."""

from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from optional import thorough

import memprop as mp
from memprop.graph.picture.draw import picture_for
from memprop.graph.picture.layout import lay_out
from memprop.graph.picture.outlines import curve

CASES = {
    "section": (mp.MLP([5, 7, 4], bias=False, l2=0.1), {}),
    "section, backward": (mp.MLP([5, 7, 4], bias=False, l2=0.1), {"backward": True}),
    "64 layers": (mp.MLP([64, *[256] * 64, 10], l2=0.1), {"backward": True}),
    "unfolded": (mp.MLP([64, *[256] * 6, 10], l2=0.1), {"backward": True, "fold": False}),
    "residual": (mp.MLP([8] * 6, norm="layer", dropout=0.1, residual=True), {"backward": True}),
}
cases = pytest.mark.parametrize(("model", "how"), CASES.values(), ids=CASES)


def box(center, size):
    return (
        center.x - size.width / 2,
        center.y - size.height / 2,
        center.x + size.width / 2,
        center.y + size.height / 2,
    )


def overlap(a, b):
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


@thorough
@cases
def test_no_edge_runs_through_a_node(model, how):
    picture = picture_for(model.graph(), **how)
    layout = lay_out(picture)
    for route in layout.routes:
        line = curve(route.points).to_polygons(closed_only=False)[0]
        steps = np.linspace(0, 1, 20)[:, None, None]
        points = (line[:-1] * (1 - steps) + line[1:] * steps).reshape(-1, 2)
        for key, center in layout.centers.items():
            if key not in (route.edge.source, route.edge.target):
                left, low, right, high = box(center, layout.sizes[key])
                inside = (points > (left, low)).all(axis=1) & (points < (right, high)).all(axis=1)
                assert not inside.any(), f"{route.edge} runs through {key}"


@cases
def test_an_edge_begins_at_its_source_and_ends_at_its_target(model, how):
    layout = lay_out(picture_for(model.graph(), **how))
    for route in layout.routes:
        for key, point in (
            (route.edge.source, route.points[0]),
            (route.edge.target, route.points[-1]),
        ):
            left, low, right, high = box(layout.centers[key], layout.sizes[key])
            assert left - 1e-6 <= point.x <= right + 1e-6
            assert low <= point.y <= high


@thorough
@cases
def test_nodes_do_not_overlap_and_labels_stay_inside(model, how):
    axes = model.graph().draw(**how)
    renderer = axes.figure.canvas.get_renderer()
    boxes = {
        p.get_gid(): p.get_window_extent(renderer).extents for p in axes.patches if p.get_gid()
    }
    nodes = {key: found for key, found in boxes.items() if f"label of {key}" in boxes}
    assert len(nodes) == len(picture_for(model.graph(), **how).nodes)
    for (a, first), (b, second) in combinations(nodes.items(), 2):
        assert not overlap(first, second), f"{a} overlaps {b}"
    for key, (left, low, right, high) in nodes.items():
        inner = boxes[f"label of {key}"]
        assert left <= inner[0] < inner[2] <= right, key
        assert low <= inner[1] < inner[3] <= high, key


def test_a_picture_fits_into_the_axes_of_a_larger_figure():
    figure, (one, two) = plt.subplots(1, 2)
    drawn = mp.MLP([5, 7, 4]).graph().draw(ax=two)
    assert drawn is two
    assert not one.patches
    assert two.patches
    figure.canvas.draw()
