"""Run the product of estimators, spaces, constraints and seeds on an executor."""

from __future__ import annotations

import collections
import contextlib
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nasbench_snas.cli import _options
from nasbench_snas.errors import ConfigError, ExitCode
from nasbench_snas.settings.seed_list import parse_seeds

if TYPE_CHECKING:
    from nasbench_snas.cli.main import Session
    from nasbench_snas.executors import Executor, Outcome, Task
    from nasbench_snas.executors.suite import Suite
    from nasbench_snas.executors.sweep import SweepReport, SweepRun, SweepSettings


_EXAMPLES = """\b
Examples:
  nasbench sweep --estimators snas,darts --seeds 0-4 --dry-run
  nasbench sweep table1.toml --executor slurm --executor-config slurm.toml
  nasbench sweep --suite darts-bench --estimators snas,darts --dry-run"""


@click.command(name="sweep", epilog=_EXAMPLES)
@click.argument("file", required=False, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--suite",
    metavar="NAME",
    help="darts-bench: nine spaces, three seeds, then nine retrainings of each derived cell.",
)
@click.option(
    "--cells",
    type=click.Choice(["best", "each"]),
    default="best",
    show_default=True,
    help="With --suite: retrain the best seed's cell by search validation, or each seed's.",
)
@click.option(
    "--retrain-set",
    multiple=True,
    metavar="KEY=VALUE",
    help="With --suite: for all retrainings.",
)
@click.option("--estimators", metavar="A,B", help="Names, separated by commas.")
@click.option("--spaces", metavar="X,Y", help="Default: darts-cnn.")
@click.option("--constraints", metavar="C,D", help="Default: none.")
@click.option("--seeds", metavar="SPEC", help="0 | 0,3 | 0-9. Default: 0.")
@click.option("-p", "--preset", help="Default: smoke.")
@click.option("--level", type=click.Choice(["joint", "bilevel", "unrolled"]), help="For all runs.")
@click.option("--dataset", help="For all runs; see `nasbench ls datasets`.")
@_options.theta_policy
@_options.derive
@_options.transform
@_options.stop
@_options.data_root
@_options.amp(["bf16"])
@_options.device
@_options.deterministic
@_options.track
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="For all runs.")
@click.option(
    "--executor",
    default="local",
    show_default=True,
    metavar="local|print|slurm|ray",
    help="Where the runs go.",
)
@click.option("--executor-config", type=click.Path(exists=True, path_type=Path), metavar="FILE")
@click.option(
    "--jobs", type=int, default=0, help="Runs at the same time. Default: 1, or one a GPU."
)
@click.option("--gpus-per-run", type=click.FloatRange(0), default=1, show_default=True)
@click.option(
    "--retries", type=click.IntRange(0), default=1, show_default=True, help="For runs that crash."
)
@click.option("--fail-fast", is_flag=True, help="Stop at the first failure.")
@click.option(
    "--on-finish",
    metavar="COMMAND",
    help="For the shell, when the sweep has ended or was stopped; NASBENCH_FINISHED, "
    "NASBENCH_FAILED and NASBENCH_EXIT_CODE say how.",
)
@click.option("--dry-run", is_flag=True, help="Show the plan; nothing is written.")
@click.pass_obj
def command(session: Session, /, file: Path | None, **options: Any) -> int:
    """Sweep over the settings in FILE (TOML), or those given as options.

    Skips what is done, continues what was interrupted, retries what crashed, and goes on when a
    run fails (exit code 4). A run that diverged is a result: it is not repeated (`nasbench run
    --rerun failed` does), but the exit code stays 4.
    """
    from nasbench_snas.cli import _suite
    from nasbench_snas.compute.device import resolve_device
    from nasbench_snas.executors import make_executor
    from nasbench_snas.executors.suite import search_tasks
    from nasbench_snas.executors.sweep import arguments_of, check_sweep, plan_sweep, summary
    from nasbench_snas.runs.provenance import device_name
    from nasbench_snas.runs.trackers import require_tracker
    from nasbench_snas.search.estimate import Times
    from nasbench_snas.settings.toml import read_toml

    settings = _settings(file, options)
    suite = _suite.planned(session, settings, options)
    if suite is None:
        runs = plan_sweep(session.registry(), settings, session.root)
    else:
        runs = list(suite.runs)
    printing = options["executor"] == "print"
    if printing and options["on_finish"]:
        raise click.UsageError("--executor print runs nothing: there is no end for --on-finish.")
    telling = not session.quiet and not printing
    here = options["executor"] == "local"
    device = resolve_device(options["device"] if here else "auto")
    times = None
    if telling or options["dry_run"]:
        times = Times(session.registry(), session.root, device_name(device))
    if telling:
        click.echo(summary(runs, times))
    if suite is not None and telling:
        click.echo(_suite.summary(session, suite))
    if options["dry_run"]:
        for run in runs:
            line = f"{run.plan.run_id}   {run.status}   {run.epochs_done}/{run.epochs}"
            told = "" if times is None or run.is_done else f"   {times.told(run.plan)}"
            click.echo(f"{line}{told}")
    if here:
        require_tracker(options["track"])
    for what in check_sweep(session.registry(), runs, device=device, here=here):
        click.echo(f"note: not checked here: {what}", err=True)
    chosen = options["executor_config"]
    executor = make_executor(
        options["executor"],
        jobs=options["jobs"],
        gpus_per_run=options["gpus_per_run"],
        options=read_toml(chosen) if chosen else {},
    )
    if options["dry_run"]:
        return 0
    plugins = [word for plugin in session.plugins for word in ("--plugin", plugin)]
    root, todo = session.root.resolve(), [r for r in runs if not r.is_done]
    words = _run_options(options)
    if suite is None:
        tasks = [arguments_of(run, settings, root, plugins, words) for run in todo]
    else:
        tasks = search_tasks(suite, root, plugins, words)
    before = [run for run in runs if run.status == "diverged"]
    report = _executed(session, executor, tasks, runs, options, bool(before), suite)
    for outcome in report.failed:
        click.echo(f"failed ({outcome.code}): {outcome.task.name}: {outcome.message}", err=True)
        if outcome.task.folder.exists():
            click.echo(f"  its folder: {outcome.task.folder}", err=True)
    for run in before:
        click.echo(f"diverged before: {run.plan.run_id}", err=True)
    if telling:
        click.echo(f"{len(report.succeeded)} finished, {len(report.failed)} failed.")
    return ExitCode.SOME_FAILED if report.failed or before else ExitCode.OK


def _executed(
    session: Session,
    executor: Executor,
    tasks: list[Task],
    runs: list[SweepRun],
    options: dict[str, Any],
    failed_before: bool,
    suite: Suite | None,
) -> SweepReport:
    """Run the tasks and a suite's retrainings, then the user's command, also where it stopped."""
    from nasbench_snas.cli._hook import run_hook
    from nasbench_snas.cli._suite import retraining_tasks
    from nasbench_snas.executors.sweep import SweepReport, execute

    report = SweepReport()
    code: int = ExitCode.INTERRUPTED
    printing = options["executor"] == "print"
    try:
        how: dict[str, Any] = {
            "retries": options["retries"],
            "fail_fast": options["fail_fast"],
            "progress": lambda outcome, state: _say(session, outcome, state),
            "report": report,
        }
        with _live_table(session, runs) if not printing else contextlib.nullcontext():
            execute(executor, tasks, **how)
        if suite is not None and not (options["fail_fast"] and report.failed):
            execute(executor, retraining_tasks(session, suite, options["device"]), **how)
        code = ExitCode.SOME_FAILED if report.failed or failed_before else ExitCode.OK
    except (Exception, SystemExit) as error:
        given = getattr(error, "exit_code", getattr(error, "code", ExitCode.FAILED))
        code = given if isinstance(given, int) else ExitCode.FAILED
        raise
    finally:
        if options["on_finish"] and not printing:
            run_hook(
                options["on_finish"],
                root=str(session.root.resolve()),
                finished=len(report.succeeded),
                failed=len(report.failed),
                code=int(code),
            )
    return report


_SETTINGS = {
    "level": "search.level",
    "theta_policy": "search.theta_policy",
    "dataset": "data.dataset",
    "derive": "child.rule",
    "data_root": "data.root",
    "amp": "search.amp",
}


def _run_options(options: dict[str, Any]) -> list[str]:
    """Return what every run is told besides its settings."""
    words = ["--device", options["device"]] if options["device"] != "auto" else []
    words += [] if options["deterministic"] else ["--no-deterministic"]
    return words + (["--track", options["track"]] if options["track"] != "none" else [])


def _settings(file: Path | None, options: dict[str, Any]) -> SweepSettings:
    """Return the settings of the file, overridden by what was given as an option."""
    import pydantic

    from nasbench_snas.executors.sweep import SweepSettings, load_sweep
    from nasbench_snas.settings.parameters import config_error

    values: dict[str, Any] = load_sweep(file).model_dump() if file else {}
    for name in ("estimators", "spaces", "constraints"):
        if options[name]:
            values[name] = tuple(part.strip() for part in options[name].split(","))
    if options["suite"]:
        from nasbench_snas.executors.suite import SUITES

        values.setdefault("spaces", SUITES.get(options["suite"], ("darts-cnn",)))
        values.setdefault("seeds", (0, 1, 2))
    if options["seeds"]:
        values["seeds"] = tuple(parse_seeds(options["seeds"]))
    if options["preset"]:
        values["preset"] = options["preset"]
    given = _options.given(options, _SETTINGS) + _options.composed(options)
    values["set"] = (*values.get("set", ()), *given, *options["assignments"])
    if "estimators" not in values:
        raise ConfigError(
            "which estimators?", fix="Example: nasbench sweep --estimators snas,darts --seeds 0-4"
        )
    try:
        return SweepSettings(**values)
    except pydantic.ValidationError as error:
        raise config_error(error, "sweep") from error


def _say(session: Session, outcome: Outcome, state: str) -> None:
    """Print one line for an outcome, where there is no live table."""
    if not session.quiet and not sys.stdout.isatty():
        click.echo(f"{state}: {outcome.task.name}")


@contextlib.contextmanager
def _live_table(session: Session, runs: list[SweepRun]) -> Iterator[None]:
    """Show a table of all runs that follows their folders, on a terminal."""
    if session.quiet or not sys.stdout.isatty():
        yield
        return
    from rich.live import Live

    stop = threading.Event()
    known: dict[str, dict[str, Any]] = {}
    with Live(console=session.console(), auto_refresh=False) as live:

        def follow() -> None:
            while True:
                known.update(_states(runs, known))
                live.update(_table(runs, known, active_first=True), refresh=True)
                if stop.wait(1.0):
                    return

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            live.update(_table(runs, _states(runs, known)), refresh=True)


def _states(runs: list[SweepRun], known: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the index row of each run by id; those that are done are not read again."""
    from nasbench_snas.runs.index import index_row

    states: dict[str, dict[str, Any]] = {}
    for run in runs:
        row = known.get(run.plan.run_id)
        if row is None or row["status"] != "done":
            row = index_row(run.folder) if run.folder.config_file.exists() else {"status": "new"}
        states[run.plan.run_id] = row
    return states


def _table(
    runs: list[SweepRun], states: dict[str, dict[str, Any]], *, active_first: bool = False
) -> Any:
    """Return the table; those at work on top, where a terminal is shorter than the table."""
    from rich.table import Table

    counts = collections.Counter(row["status"] for row in states.values())
    told = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    table = Table(box=None, pad_edge=False, title=f"{len(runs)} runs: {told}", title_justify="left")
    for column in ("run", "status", "epoch", "search", "child"):
        table.add_column(column, justify="left" if column in ("run", "status") else "right")
    order = ("running", "stale", "interrupted", "failed", "diverged", "new")
    if active_first:
        place = {status: i for i, status in enumerate(order)}
        runs = sorted(runs, key=lambda run: place.get(states[run.plan.run_id]["status"], 9))
    for run in runs:
        row = states[run.plan.run_id]
        accuracies = [row.get(key) for key in ("search_valid_acc", "child_valid_acc")]
        table.add_row(
            run.plan.run_id,
            row["status"],
            f"{row.get('epochs_done') or 0}/{run.epochs}",
            *("-" if value is None else f"{value:.2f}" for value in accuracies),
        )
    return table
