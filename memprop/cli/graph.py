"""``memprop graph``: a model's computational graph as a picture or as text."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from memprop.cli import options


@options.describe_model(depth=2, width=256)
def graph(
    describe: Callable[[], Any],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="A .svg, .png, .pdf, .dot, .gv or .mmd file.")
    ] = Path("graph.svg"),
    batch: options.Batch = 64,
    backward: Annotated[
        bool, typer.Option("--backward", help="The backward pass too, and what it reuses.")
    ] = False,
    fold: Annotated[
        bool, typer.Option("--fold/--no-fold", help="Whether alike layers become one box.")
    ] = True,
    schedule: Annotated[
        str | None,
        typer.Option(help="Mark what it caches and computes again: lean, sqrt, budget:8MiB ..."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Draw the computational graph.

    Squares are variables, circles operators.

    For example:

    memprop graph --depth 2 --width 256 --backward -o graph.svg
    """
    from memprop.graph.picture.draw import save

    made = describe().model
    planned = None if schedule is None else _planned(made, batch, schedule)
    drawn = made.graph() if planned is None else planned.graph
    how = {"backward": backward, "fold": fold, "batch": batch, "schedule": planned}
    save(drawn, out, **how)
    _tell(drawn, how, out, as_json)


def _planned(model: Any, batch: int, name: str) -> Any:
    from memprop.tradeoff import schedule

    return schedule(model, batch, name)


def _tell(graph: Any, how: dict[str, Any], out: Path, as_json: bool) -> None:
    from dataclasses import asdict

    from memprop.cli.output import console, print_json
    from memprop.graph.picture.draw import picture_for

    picture = picture_for(graph, **how)
    if as_json:
        print_json(
            {
                "file": str(out),
                "caption": picture.caption,
                "nodes": [_shown(asdict(node)) for node in picture.nodes],
                "edges": [asdict(edge) for edge in picture.edges],
            }
        )
        return
    counts = f"{len(picture.nodes)} nodes, {len(picture.edges)} edges"
    console().print(f"{out}: {picture.caption}, {counts}")


def _shown(node: dict[str, Any]) -> dict[str, Any]:
    """A node without the fields that only the drawing needs."""
    return {name: value for name, value in node.items() if name not in ("alike", "lines")}
