"""Search an architecture, derive the child, validate it without retraining."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from nasbench_snas.cli import _options
from nasbench_snas.errors import ConfigError, ExitCode
from nasbench_snas.settings.seed_list import parse_seeds

if TYPE_CHECKING:
    from nasbench_snas.cli.main import Session
    from nasbench_snas.search.plan import PlannedRun


_EXAMPLES = """\b
Examples:
  nasbench run -e snas -s darts-cnn
  nasbench run -e darts -s darts-cnn --level bilevel --seeds 0-4 --max-time 15m
  nasbench run -e snas -s darts-cnn -p paper --constraint mild --dry-run"""


@click.command(name="run", epilog=_EXAMPLES)
@click.option("-e", "--estimator", metavar="NAME", help="See `nasbench ls estimators`.")
@click.option("-s", "--space", metavar="NAME", help="See `nasbench ls spaces`.")
@click.option("-p", "--preset", default="smoke", show_default=True, help="smoke, small or paper.")
@_options.seeds()
@click.option(
    "--constraint",
    type=click.Choice(_options.LEVELS),
    default="none",
    show_default=True,
    help="Level of resource constraint.",
)
@click.option(
    "--level", type=click.Choice(["joint", "bilevel", "unrolled"]), help="Default: joint."
)
@click.option("--protocol", type=click.Choice(["standard", "paper"]), help="Default: standard.")
@click.option(
    "--cost-gradient", type=click.Choice(["exact", "pathwise", "score"]), help="Default: exact."
)
@click.option(
    "--target-cost",
    metavar="WHAT=N",
    help="For example params=2.8M, macs=600M (multiply-adds) or access=9M (memory access).",
)
@click.option("--track-gradients", metavar="every=N", help="Measure the gradient every N steps.")
@click.option("--purpose", type=click.Choice(["tuning", "exploratory", "confirmatory"]))
@click.option("--settings-from", metavar="TEXT", help="How the settings were chosen; recorded.")
@click.option("--dataset", help="Data set; see `nasbench ls datasets`.")
@_options.theta_policy
@_options.derive
@_options.transform
@_options.stop
@_options.data_root
@_options.settings_file
@_options.assignments
@_options.device
@_options.deterministic
@_options.amp(["bf16"])
@_options.kernels(["reference", "cpu", "triton"], "Backend of the parent network.")
@_options.resume("RUN_ID")
@_options.rerun(["failed", "stale", "all"], "Which finished runs to repeat.")
@_options.dry_run
@_options.measure
@_options.track
@_options.max_epochs("run")
@_options.max_time
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> int:
    """Run a search and leave its folder; the same command continues an interrupted one."""
    from nasbench_snas.cli._run_display import announce, final_line
    from nasbench_snas.compute.device import resolve_device
    from nasbench_snas.compute.distributed import joined
    from nasbench_snas.runs.trackers import require_tracker

    session: Session = ctx.obj
    if options["resume"] not in ("auto", "never"):
        _refuse_settings(ctx)
    device = resolve_device(options["device"], deterministic=options["deterministic"])
    require_tracker(options["track"])
    plans = _plans(session, options)
    if options["dry_run"] or options["measure"]:
        _show_plans(session, plans, device)
        _check_plans(session, plans, options, device)
        return 0
    if not session.quiet:
        announce(session, plans[0], device, options["max_epochs"], options["max_time"])
    failures = 0
    with joined(device):
        for plan in plans:
            failures += _one(session, plan, options, device)
    if not session.quiet:
        final_line(session)
    return ExitCode.FAILED if failures else ExitCode.OK


_SETTINGS = (
    "estimator space preset seeds constraint level theta_policy protocol cost_gradient target_cost "
    "track_gradients dataset derive transform stop data_root file assignments amp purpose "
    "settings_from"
).split()


def _refuse_settings(ctx: click.Context) -> None:
    """Raise if settings were given beside a run that has its own."""
    for parameter in ctx.command.params:
        given = ctx.get_parameter_source(parameter.name or "")
        if parameter.name in _SETTINGS and given is ParameterSource.COMMANDLINE:
            raise ConfigError(
                f"{parameter.opts[0]} cannot be given with --resume RUN_ID.",
                "The run continues with the settings it was begun with.",
                "Leave it out; other settings are another run: give the whole command anew.",
            )


def _assignments(options: dict[str, Any]) -> list[str]:
    shortcuts = {
        "level": "search.level",
        "theta_policy": "search.theta_policy",
        "protocol": "data.protocol",
        "cost_gradient": "cost.gradient",
        "target_cost": "cost.target",
        "dataset": "data.dataset",
        "derive": "child.rule",
        "data_root": "data.root",
        "amp": "search.amp",
        "purpose": "purpose",
        "settings_from": "settings_from",
    }
    chosen = _options.given(options, shortcuts) + _options.composed(options)
    if options["track_gradients"]:
        every = options["track_gradients"].removeprefix("every=")
        chosen.append(f"search.track_gradients={every}")
    return chosen + list(options["assignments"])


def _plans(session: Session, options: dict[str, Any]) -> list[PlannedRun]:
    from nasbench_snas.runs.folder import find_run
    from nasbench_snas.runs.plugins import check_plugins
    from nasbench_snas.search.plan import as_begun, complete, load_config, plan_run

    registry = session.registry()
    if options["resume"] not in ("auto", "never"):
        folder = find_run(session.root, options["resume"])
        check_plugins(folder, registry)
        return [complete(registry, load_config(folder.config_file), {})]
    for name in ("estimator", "space"):
        if not options[name]:
            raise ConfigError(
                f"--{name} is missing.",
                f"Choose one of `nasbench ls {name}s`.",
                "Example: nasbench run --estimator snas --space darts-cnn",
            )
    plans = [
        plan_run(
            registry,
            options["estimator"],
            options["space"],
            preset=options["preset"],
            constraint=options["constraint"],
            seed=seed,
            file=options["file"],
            assignments=_assignments(options),
        )
        for seed in parse_seeds(options["seeds"])
    ]
    return [as_begun(registry, session.root, plan) for plan in plans]


def _one(session: Session, plan: PlannedRun, options: dict[str, Any], device: str) -> int:
    """Run, continue or skip one plan; return the number of failures."""
    from nasbench_snas.cli._run_display import RunDisplay, show_result
    from nasbench_snas.errors import DivergedError
    from nasbench_snas.runs.folder import RunFolder, find_run
    from nasbench_snas.runs.plugins import check_plugins
    from nasbench_snas.runs.resume import check_unused
    from nasbench_snas.runs.trackers import LaterTracker
    from nasbench_snas.search.plan import must_repeat
    from nasbench_snas.search.runner import RunOptions, run_search

    folder = RunFolder(session.root / plan.run_id)
    if options["resume"] not in ("auto", "never"):
        folder = find_run(session.root, options["resume"])
    repeat = must_repeat(session.registry(), folder, plan.config, options["rerun"])
    repeat |= options["resume"] == "never"
    done = None if repeat else folder.result()
    if done is not None and folder.status().get("status") == "done":
        check_plugins(folder, session.registry())
        check_unused(options["kernels"], device, options["track"])
        show_result(session, folder, done, note="finished before; --rerun all repeats it")
        return 0
    with RunDisplay(session, plan, folder, device, options["max_epochs"]) as display:
        listeners = [display.event]
        if options["track"] != "none" and not session.silent:
            listeners.append(LaterTracker(options["track"], folder, plan.config))
        try:
            result = run_search(
                plan.config,
                session.registry(),
                folder,
                RunOptions(
                    device=device,
                    kernels=options["kernels"],
                    resume=not repeat,
                    max_epochs=options["max_epochs"],
                    max_seconds=options["max_time"],
                    listeners=tuple(listeners),
                    sources=plan.sources,
                ),
            )
        except DivergedError as error:
            click.echo(f"Error: run {plan.run_id} diverged: {error}", err=True)
            return 1
    show_result(session, folder, result)
    return 0


def _check_plans(
    session: Session, plans: list[PlannedRun], options: dict[str, Any], device: str
) -> None:
    """Raise what the run itself would be refused for; finished runs are not looked at."""
    from nasbench_snas.runs.folder import RunFolder
    from nasbench_snas.runs.progress import duration
    from nasbench_snas.search.estimate import measure
    from nasbench_snas.search.ready import check_ready, unlike

    todo = [
        plan
        for plan in plans
        if options["rerun"] == "all"
        or RunFolder(session.root / plan.run_id).status().get("status") != "done"
    ]
    for plan in unlike(todo):
        check_ready(plan.config, session.registry(), device, options["kernels"])
        if options["measure"]:
            seconds = measure(plan.config, session.registry(), device, options["kernels"])
            text = f"{plan.run_id}   measured: about {duration(seconds)} of search"
            session.console().print(text)


def _show_plans(session: Session, plans: list[PlannedRun], device: str) -> None:
    from nasbench_snas.runs.folder import RunFolder
    from nasbench_snas.runs.provenance import device_name
    from nasbench_snas.search.estimate import Times
    from nasbench_snas.settings.toml import to_toml

    console = session.console()
    console.print(to_toml(plans[0].config, plans[0].sources))
    times = Times(session.registry(), session.root, device_name(device))
    for plan in plans:
        folder = RunFolder(session.root / plan.run_id)
        status = folder.status().get("status", "new")
        console.print(f"{plan.run_id}   {status}   {times.told(plan)}")
