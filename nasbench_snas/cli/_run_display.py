"""What ``nasbench run`` shows: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nasbench_snas.cli.main import Session
    from nasbench_snas.retrain.plan import PlannedRetraining
    from nasbench_snas.runs.folder import RunFolder
    from nasbench_snas.search.plan import PlannedRun

_HEADER = "epoch    search_acc  search_loss  train_loss  entropy  temperature  E[cost]  s/epoch"

_BAR = (
    ("search_acc", "acc", ".2f"),
    ("test_acc", "acc", ".2f"),
    ("entropy", "entropy", ".3f"),
    ("temperature", "temp", ".3f"),
)
"""Beside the bar, which has to fit into 80 columns: key of an event, word, format."""


def announce(session: Session, plan: PlannedRun, device: str) -> None:
    """Print what the preset is and where the run computes."""
    from nasbench_snas.runs.provenance import device_name, git_state, versions
    from nasbench_snas.settings.presets import load_preset

    console = session.console()
    config = plan.config
    about = load_preset(config.preset).get("about", "")
    console.print(f"preset {config.preset}: {about}")
    if changed := sorted(key for key, source in plan.sources.items() if _is_users(key, source)):
        data, search = config.data, config.search
        console.print(
            f"this run:     {data.dataset}, {search.epochs} epochs, batch {search.batch_size}, "
            f"{search.level}; changed: {', '.join(changed)}"
        )
    if config.preset == "smoke":
        command = (
            f"nasbench data prepare cifar10 && nasbench run "
            f"-e {config.estimator.name} -s {config.space.name} -p paper"
        )
        console.print(f"              For real runs:  {command}")
    if config.cost.steered:
        console.print(f"cost   {config.cost.steered}")
    git = git_state()
    sha = f"   git {git['sha'][:7]}{'+dirty' if git['dirty'] else ''}" if git["sha"] else ""
    console.print(f"device {device_name(device)}   torch {versions()['torch']}{sha}")


def _is_users(key: str, source: str) -> bool:
    """Whether a setting is the user's own, and not which run of the preset this is."""
    named = key in ("estimator.name", "space.name", "preset", "constraint", "seed")
    return not named and not source.startswith(("preset", "default", "estimator", "paper"))


class RunDisplay:
    """Context that shows one run's events.

    Args:
        session: The command's session.
        plan: The run.
        folder: Its folder.
        device: Where it computes.
        max_epochs: Epochs after which it stops; None: at its end.
    """

    header = _HEADER
    task = "search"

    def __init__(
        self,
        session: Session,
        plan: PlannedRun | PlannedRetraining,
        folder: RunFolder,
        device: str,
        max_epochs: int | None = None,
    ) -> None:
        self._max_epochs = max_epochs
        self._session, self._folder, self._device = session, folder, device
        self._plan: Any = plan
        self._console = session.console()
        self._progress: Any = None
        self._task: Any = None
        self._latest: dict[str, Any] = {}

    def __enter__(self) -> RunDisplay:
        """Start the live display, on a terminal."""
        if self._session.quiet:
            return self
        self._console.print(f"run    {self._folder.run_id}")
        if sys.stdout.isatty():
            from rich import progress

            self._progress = progress.Progress(
                progress.TextColumn("{task.description}"),
                progress.BarColumn(bar_width=10),
                progress.MofNCompleteColumn(),
                progress.TextColumn("left"),
                progress.TimeRemainingColumn(),
                progress.TextColumn("{task.fields[now]}"),
                console=self._console,
                transient=True,
            )
            self._progress.start()
            self._task = self._progress.add_task(self.task, total=None, now="")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the live display."""
        if self._progress is not None:
            self._progress.stop()

    def event(self, event: dict[str, Any]) -> None:
        """Show one event of the run."""
        if self._session.quiet:
            return
        kind = event["kind"]
        if kind == "start":
            self._console.print(event["note"])
            if event["epoch"]:
                self._console.print(f"continued after epoch {event['epoch']}")
            self._console.print(self.header)
        elif kind == "epoch":
            self._latest |= event
            self._console.print(self._epoch_line(event))
        elif kind == "step" and self._progress is not None:
            self._latest |= event
            now = "  ".join(
                f"{word} {self._latest[key]:{form}}"
                for key, word, form in _BAR
                if key in self._latest
            )
            if not now and "train_loss" in event:
                now = f"loss {event['train_loss']:.3f}"
            total = self._steps(event["total_steps"])
            self._progress.update(self._task, completed=event["step"], total=total, now=now)

    def _steps(self, planned: int) -> int:
        """Return the steps until this command stops."""
        if self._max_epochs is None:
            return planned
        config = self._plan.config
        epochs: int = (config.search if self.task == "search" else config.training).epochs
        return planned * min(self._max_epochs, epochs) // int(epochs)

    def _epoch_line(self, event: dict[str, Any]) -> str:
        epochs = self._plan.config.search.epochs
        accuracy = f"{event['search_acc']:.2f}" if "search_acc" in event else "-"
        loss = f"{event['search_loss']:.3f}" if "search_loss" in event else "-"
        temperature = f"{event['temperature']:.3f}" if "temperature" in event else "-"
        return (
            f"{event['epoch']}/{epochs}".ljust(9)
            + accuracy.rjust(10)
            + loss.rjust(13)
            + f"{event['train_loss']:.3f}".rjust(12)
            + f"{event['entropy']:.3f}".rjust(9)
            + temperature.rjust(13)
            + f"{event['expected_cost']:.2f}".rjust(9)
            + f"{event['seconds']:.2f}".rjust(9)
        )


def show_result(
    session: Session, folder: RunFolder, result: dict[str, Any], note: str = ""
) -> None:
    """Print the child's accuracy, the gap, and the folder."""
    from nasbench_snas.runs.schema import rule_in_words
    from nasbench_snas.search.estimate import duration

    console = session.console()
    truncated = " [truncated]" if result["truncated"] else ""
    parts = (
        f"child  {rule_in_words(result)}: {result['child_valid_acc']:.2f} "
        f"(gap {result['child_gap']:+.2f}; recalibrated "
        f"{result['child_valid_acc_recalibrated']:.2f})",
        f"params {result['params'] / 1e6:.4f} M",
        f"madds {result['macs'] / 1e6:.2f} M",
        f"edges {result['n_edges_kept']}/{result['n_edges']}",
    )
    console.print("   ".join(parts))
    with contextlib.suppress(ValueError):
        shown = folder.path.resolve().relative_to(folder.path.cwd())
        folder = type(folder)(shown)
    console.print(
        f"done in {duration(result['wall_s'])} -> {folder.path}{truncated}"
        + (f"   ({note})" if note else ""),
    )


def final_line(session: Session) -> None:
    """Print what to do next."""
    session.console().print("next: nasbench report")
