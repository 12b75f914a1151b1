"""What `nasbench sweep --suite` does besides a sweep: the plan, its totals, the retrainings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from nasbench_snas.cli.main import Session
    from nasbench_snas.executors import Task
    from nasbench_snas.executors.suite import Suite
    from nasbench_snas.executors.sweep import SweepSettings


def planned(session: Session, settings: SweepSettings, options: dict[str, Any]) -> Suite | None:
    """Return the suite that the options ask for, or None.

    Raises:
        ConfigError: There is no such suite, or a space or preset does not fit it.
    """
    from nasbench_snas.executors.suite import check_suite, plan_suite

    if options["suite"] is None:
        if options["retrain_set"] or options["cells"] != "best":
            raise click.UsageError("--cells and --retrain-set belong to --suite.")
        return None
    check_suite(options["suite"], settings.preset, settings.spaces)
    return plan_suite(
        session.registry(),
        settings,
        session.root,
        cells=options["cells"],
        assignments=options["retrain_set"],
    )


def summary(session: Session, suite: Suite) -> str:
    """Return one line: the retrainings of the suite, and how many of them are there."""
    from nasbench_snas.executors.suite import plan_retrainings

    known, _ = plan_retrainings(session.registry(), suite, session.root)
    done = sum(one.is_done for one in known)
    begun = sum(one.status not in ("new", "done", "diverged") for one in known)
    text = f"{suite.num_retrainings} retrainings of {suite.num_cells} cells: {done} done"
    text += f", {begun} begun, {len(known) - done - begun} new"
    later = suite.num_retrainings - len(known)
    text += f", {later} wait for searches." if later else "."
    seconds = [float(result["wall_s"]) for one in known if (result := one.folder.result())]
    if seconds and done < suite.num_retrainings:
        from nasbench_snas.runs.progress import duration

        left = (suite.num_retrainings - done) * sum(seconds) / len(seconds)
        text += f"  About {duration(left)} of work, as the {len(seconds)} that are done."
    return text


def retraining_tasks(session: Session, suite: Suite, device: str) -> list[Task]:
    """Return the tasks of the retrainings that are left, and tell which cells are not known."""
    from nasbench_snas.executors.suite import plan_retrainings

    plugins = [word for plugin in session.plugins for word in ("--plugin", plugin)]
    root = session.root.resolve()
    found, without = plan_retrainings(session.registry(), suite, root, plugins, device)
    for what in without:
        click.echo(f"note: not retrained yet: {what}", err=True)
    return [one.task for one in found if not one.is_done]
