"""``memprop sweep``: run what a specification asks for and write its report."""

from pathlib import Path
from typing import Annotated

import typer

from memprop.cli import options


def sweep(
    spec: Annotated[Path, typer.Argument(help="The specification, a TOML file.")],
    out: Annotated[
        Path | None, typer.Option(help="Where results go; reports/NAME if not given.")
    ] = None,
    jobs: Annotated[
        int,
        typer.Option(parser=options.integer, help="Trials at the same time; times are disturbed."),
    ] = 1,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget earlier results.")] = False,
    limit: Annotated[
        int | None, typer.Option(parser=options.integer, help="Run at most that many trials now.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Run a specification and write its report.

    Trials that have a result already are not run again.

    For example:

    memprop sweep experiments/depth_batch.toml
    """
    from memprop.cli.output import print_json
    from memprop.cli.report import print_report
    from memprop.data import load_data
    from memprop.report.write import ENVIRONMENT, SPEC, make_folder, write_file, write_report
    from memprop.sweep.environment import environment_json
    from memprop.sweep.runner import run_sweep
    from memprop.sweep.spec import load_spec

    loaded = load_spec(spec)
    load_data(loaded.data.source)  # better told now than by every trial
    folder = Path("reports") / loaded.name if out is None else out
    make_folder(folder)
    write_file(folder / SPEC, spec.read_text(encoding="utf-8"))
    write_file(folder / ENVIRONMENT, environment_json())
    outcome = run_sweep(loaded, folder, fresh=fresh, limit=limit, jobs=jobs)
    written = write_report(folder)
    failed = int((written.results["status"] != "ok").sum())
    if as_json:
        document = {"folder": str(folder), "ran": outcome.ran, "skipped": outcome.skipped}
        print_json({**document, "failed": failed, "findings": list(written.findings)})
    else:
        print_report(written, folder)
    if failed:
        raise typer.Exit(1)
