"""``memprop sweep``: run what a specification asks for and write its report."""

from pathlib import Path
from typing import Annotated

import typer

from memprop.cli import options

Spec = Annotated[Path, typer.Argument(help="The specification, a TOML file.")]
Out = Annotated[Path | None, typer.Option(help="Where results go; reports/NAME if not given.")]
Jobs = Annotated[
    int | None,
    typer.Option(
        parser=options.integer,
        help="Trials whose memory is measured at the same time; times are measured alone.",
    ),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Forget earlier results.")]
Prune = Annotated[
    bool, typer.Option("--prune", help="Forget results that are no longer asked for.")
]
Retry = Annotated[bool, typer.Option("--retry", help="Run trials again that failed.")]
SkipOom = Annotated[
    bool, typer.Option("--skip-oom", help="Leave out what is predicted to run out of memory.")
]
Executor = Annotated[
    str, typer.Option(help="Where trials run: process (here) or dask (on a cluster).")
]
Scheduler = Annotated[
    str | None,
    typer.Option(help="With dask: a scheduler, tcp://...; else a cluster is started here."),
]
Limit = Annotated[
    int | None, typer.Option(parser=options.integer, help="Run at most that many trials now.")
]


def sweep(
    spec: Spec,
    out: Out = None,
    jobs: Jobs = None,
    fresh: Fresh = False,
    prune: Prune = False,
    retry: Retry = False,
    skip_oom: SkipOom = False,
    executor: Executor = "process",
    scheduler: Scheduler = None,
    limit: Limit = None,
    as_json: options.Json = False,
) -> None:
    """Run a specification and write its report.

    Trials that have a result already are not run again.

    For example:

    memprop sweep experiments/depth_batch.toml
    """
    from memprop.data import load_data
    from memprop.machine.choice import chosen
    from memprop.report.write import ENVIRONMENT, SPEC
    from memprop.sweep.environment import environment_json
    from memprop.sweep.examples import store_examples
    from memprop.sweep.executors.names import executor_named
    from memprop.sweep.predicted import predict_sweep
    from memprop.sweep.runner import RunOptions, run_sweep
    from memprop.sweep.spec import load_spec
    from memprop.waiting import waiting

    loaded = load_spec(spec)
    load_data(loaded.data.source)  # better an error now than one in every trial
    folder = Path("reports") / loaded.name if out is None else out
    here = executor == "process" and not loaded.simulated  # workers of a cluster choose themselves
    environment = environment_json(chosen() if here else None)
    files = {SPEC: spec.read_text(encoding="utf-8"), ENVIRONMENT: environment}
    if loaded.simulated:
        ran, skipped = predict_sweep(loaded, folder, fresh=fresh, files=files), 0
    else:
        options = RunOptions(fresh=fresh, prune=prune, retry=retry, skip_oom=skip_oom, limit=limit)
        with executor_named(executor, scheduler, jobs) as execute:
            outcome = run_sweep(loaded, folder, execute=execute, options=options, files=files)
        ran, skipped = outcome.ran, outcome.skipped
    with waiting("storing steps"):
        store_examples(loaded, folder)
    _report(folder, ran, skipped, as_json=as_json)


def _report(folder: Path, ran: int, skipped: int, *, as_json: bool) -> None:
    """Write and print the report; status 1 if a trial failed."""
    from memprop.cli.output import print_json
    from memprop.cli.report import print_report
    from memprop.report.write import write_report
    from memprop.sweep.measurement import FAILURES

    written = write_report(folder)
    failed = int(written.results["status"].isin(FAILURES).sum())
    if as_json:
        document = {"folder": str(folder), "ran": ran, "skipped": skipped}
        print_json({**document, "failed": failed, "findings": list(written.findings)})
    else:
        print_report(written, folder)
    if failed:
        raise typer.Exit(1)
