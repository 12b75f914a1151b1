"""Train derived networks from scratch: test error of the last epoch (Tables 2 and 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from nasbench_snas.cli import _options
from nasbench_snas.errors import ConfigError, ExitCode

if TYPE_CHECKING:
    from nasbench_snas.cli.main import Session
    from nasbench_snas.retrain.plan import PlannedRetraining, Target
    from nasbench_snas.runs.folder import RunFolder


@click.command(name="retrain")
@click.argument("targets", nargs=-1, metavar="[RUN|GENOTYPE]...")
@click.option(
    "--select",
    metavar="ESTIMATOR/SPACE",
    help="Take the search with the best search validation accuracy over its seeds.",
)
@click.option(
    "--best-of",
    metavar="RUN,RUN",
    help="Take the best of these seeds of one search, by search validation accuracy.",
)
@click.option("--search-preset", help="With --select: preset of the searches.")
@click.option(
    "--search-level",
    type=click.Choice(["joint", "bilevel", "unrolled"]),
    help="With --select: optimisation level of the searches.",
)
@click.option("--search-dataset", help="With --select: data set of the searches.")
@click.option(
    "--constraint",
    type=click.Choice(_options.LEVELS),
    help="With --select: level of resource constraint of the searches.",
)
@click.option(
    "-p",
    "--preset",
    help="smoke, small, paper (Table 2) or imagenet (Table 3); default: the search's, or smoke.",
)
@_options.seeds("Seeds of the retraining: ")
@click.option("--dataset", help="Data set; default: the search's, or the preset's.")
@_options.data_root
@_options.settings_file
@_options.assignments
@_options.device
@_options.deterministic
@_options.amp(["bf16", "fp16"])
@_options.kernels(
    ["reference", "cpu"], "On CPU: the compiled kernels, or the plain modules (reference)."
)
@click.option("--channels-last", is_flag=True, help="Memory layout that GPUs prefer.")
@click.option("--compile", "backend", metavar="BACKEND", help="torch.compile, e.g. inductor.")
@click.option("--allow-over-budget", is_flag=True, help="Train above the multiply-add limit.")
@_options.resume("RETRAINING")
@_options.rerun(["failed", "all"], "Which finished retrainings to repeat.")
@_options.dry_run
@_options.measure
@_options.max_epochs("retraining")
@_options.max_time
@click.pass_obj
def command(session: Session, /, **options: Any) -> int:
    """Train the network of every RUN or GENOTYPE from scratch and measure its test error.

    A genotype is a name of the zoo, FILE, FILE:NAME, - for standard input, or the text. The same
    command continues an interrupted retraining. The error is that of the last epoch, never of the
    best. Several processes: torchrun --nproc-per-node N -m nasbench_snas retrain …
    """
    from nasbench_snas.cli._retrain_display import announce_retraining
    from nasbench_snas.compute.device import resolve_device
    from nasbench_snas.compute.distributed import joined

    device = resolve_device(options["device"], deterministic=options["deterministic"])
    plans = _plans(session, options)
    if options["dry_run"] or options["measure"]:
        _show_plans(session, plans, options, device)
        _check_plans(session, plans, options, device)
        return 0
    if not session.quiet:
        stops = options["max_epochs"], options["max_time"]
        announce_retraining(session, plans[0][1], device, *stops)
    failures = 0
    with joined(device):
        for folder, plan in plans:
            failures += _one(session, folder, plan, options, device)
    if not session.quiet:
        session.console().print("next: nasbench report")
    return ExitCode.FAILED if failures else ExitCode.OK


def _targets(session: Session, options: dict[str, Any]) -> list[Target]:
    from nasbench_snas.retrain.plan import best_of, best_search, find_target
    from nasbench_snas.runs.folder import find_run

    targets = [find_target(session.root, text) for text in options["targets"]]
    for target in targets:
        _options.say_notes(target.genotype)
    if options["select"]:
        estimator, slash, space = options["select"].partition("/")
        if not (estimator and slash and space):
            raise ConfigError(
                f"--select {options['select']!r} is not ESTIMATOR/SPACE.",
                fix="Example: --select snas/darts-cnn",
            )
        targets.append(
            best_search(
                session.root,
                estimator,
                space,
                preset=options["search_preset"],
                constraint=options["constraint"],
                level=options["search_level"],
                dataset=options["search_dataset"],
            )
        )
    if options["best_of"]:
        names = [name.strip() for name in options["best_of"].split(",")]
        targets.append(best_of(find_run(session.root, name) for name in names))
    if not targets:
        raise ConfigError(
            "there is nothing to retrain.",
            "Name a run or a genotype, or choose a run with --select or --best-of.",
            "Example: nasbench retrain snas-mild, or nasbench retrain --select snas/darts-cnn",
        )
    return targets


def _assignments(options: dict[str, Any]) -> list[str]:
    shortcuts = {
        "dataset": "data.dataset",
        "data_root": "data.root",
        "amp": "training.amp",
        "backend": "speed.compile",
    }
    chosen = _options.given(options, shortcuts)
    if options["channels_last"]:
        chosen.append("speed.channels_last=true")
    return chosen + list(options["assignments"])


def _plans(session: Session, options: dict[str, Any]) -> list[tuple[RunFolder, PlannedRetraining]]:
    from nasbench_snas.retrain.plan import default_preset, plan_retraining, stored_retraining
    from nasbench_snas.retrain.runner import retrain_folder
    from nasbench_snas.settings.seed_list import parse_seeds

    if options["resume"] not in ("auto", "never"):
        return [stored_retraining(session.root, options["resume"])]
    plans = [
        plan_retraining(
            session.registry(),
            target,
            preset=options["preset"] or default_preset(target),
            seed=seed,
            file=options["file"],
            assignments=_assignments(options),
        )
        for target in _targets(session, options)
        for seed in parse_seeds(options["seeds"])
    ]
    return [(retrain_folder(session.root, plan.config), plan) for plan in plans]


def _check_plans(
    session: Session,
    plans: list[tuple[RunFolder, PlannedRetraining]],
    options: dict[str, Any],
    device: str,
) -> None:
    """Raise what a retraining itself would be refused for, the first seed of each network."""
    from nasbench_snas.retrain.runner import check_ready, measure
    from nasbench_snas.runs.progress import duration

    seen = set()
    for folder, plan in plans:
        kind = plan.config.model_copy(update={"seed": 0}).model_dump_json()
        finished = folder.status().get("status") == "done" and options["rerun"] != "all"
        if kind not in seen and not finished:
            where = plan.config, session.registry(), device, options["kernels"]
            allow = options["allow_over_budget"]
            if options["measure"]:
                seconds = measure(*where, allow_over_budget=allow)
                text = f"{folder.run_id}   measured: about {duration(seconds)}"
                session.console().print(text)
            else:
                check_ready(*where, allow_over_budget=allow)
        seen.add(kind)


def _one(
    session: Session,
    folder: RunFolder,
    plan: PlannedRetraining,
    options: dict[str, Any],
    device: str,
) -> int:
    """Train, continue, take over or skip one plan; return the number of failures."""
    from nasbench_snas.cli._retrain_display import RetrainDisplay, show_retraining
    from nasbench_snas.errors import DivergedError
    from nasbench_snas.retrain.runner import find_twin, run_retraining, take_over
    from nasbench_snas.runs.options import RunOptions
    from nasbench_snas.runs.resume import check_unused

    status = folder.status().get("status")
    repeat = options["rerun"] == "all" or options["resume"] == "never"
    repeat |= options["rerun"] == "failed" and folder.ended_badly
    done = None if repeat else folder.result()
    if done is not None and status == "done":
        check_unused(options["kernels"], device)
        show_retraining(session, folder, done, "finished before; --rerun all repeats it")
        return 0
    twin = None if repeat else find_twin(session.root, plan.config)
    if twin is not None and not session.silent and plan.config.selection == "best of n":
        result = take_over(plan.config, twin, folder)
        show_retraining(session, folder, result, f"taken over from {twin.run_id}")
    if twin is not None and plan.config.selection == "best of n":
        return 0
    with RetrainDisplay(session, plan, folder, device, options["max_epochs"]) as display:
        try:
            result = run_retraining(
                plan.config,
                session.registry(),
                folder,
                RunOptions(
                    device=device,
                    kernels=options["kernels"],
                    resume=not repeat,
                    max_epochs=options["max_epochs"],
                    max_seconds=options["max_time"],
                    listeners=(display.event,),
                    sources=plan.sources,
                ),
                parent=plan.parent,
                allow_over_budget=options["allow_over_budget"],
            )
        except DivergedError as error:
            click.echo(f"Error: retraining {folder.run_id} diverged: {error}", err=True)
            return 1
    show_retraining(session, folder, result)
    return 0


def _show_plans(
    session: Session,
    plans: list[tuple[RunFolder, PlannedRetraining]],
    options: dict[str, Any],
    device: str,
) -> None:
    from nasbench_snas.retrain.estimate import RetrainTimes
    from nasbench_snas.runs.provenance import device_name
    from nasbench_snas.settings.toml import to_toml

    console = session.console()
    _, first = plans[0]
    console.print(to_toml(first.config, first.sources))
    times = RetrainTimes(session.registry(), session.root, device_name(device))
    for folder, plan in plans:
        status = folder.status().get("status", "new")
        line = f"{folder.run_id}   {status}   {plan.config.selection}"
        open_yet = status != "done" and not options["measure"]
        console.print(line + (f"   {times.told(plan.config)}" if open_yet else ""))
