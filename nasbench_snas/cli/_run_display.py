"""What ``nasbench run`` shows: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nasbench_snas.cli.main import Session
    from nasbench_snas.data.settings import DataSettings
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


_EVERY_SECONDS = 30.0
"""Between two lines within an epoch, where there is no terminal."""


def announce(
    session: Session,
    plan: PlannedRun,
    device: str,
    max_epochs: int | None = None,
    max_seconds: float | None = None,
) -> None:
    """Print what the run is, where its settings come from, and where it computes.

    Args:
        session: The command's session.
        plan: The run, the first one of several seeds.
        device: Where it computes.
        max_epochs: Epochs after which it stops; None: at its end.
        max_seconds: Seconds after which it stops; None: at its end.
    """
    from nasbench_snas.runs.provenance import device_name, git_state, versions
    from nasbench_snas.settings.presets import load_preset

    console = session.console()
    config = plan.config
    about = load_preset(config.preset).get("about", "")
    changed = sorted(key for key, source in plan.sources.items() if _is_users(key, source))
    console.print(f"search {_in_words(plan, max_epochs, max_seconds)}")
    if changed:
        warning = about[about.index("Numbers") :] if "Numbers" in about else ""
        console.print(f"preset {config.preset}, but for {', '.join(changed)}. {warning}".rstrip())
    else:
        console.print(f"preset {config.preset}: {about}")
    if config.preset == "smoke" and not changed:
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


def _in_words(plan: PlannedRun, max_epochs: int | None, max_seconds: float | None) -> str:
    """Return a run in one line: what is searched, on which images, how long."""
    config, search = plan.config, plan.config.search
    width = config.space.parameters.get("channels")
    words = [
        f"{width} channels" if width else "",
        images_in_words(config.data),
        limits_in_words(search.epochs, max_epochs, max_seconds),
        f"batch {search.batch_size}",
        search.level,
        f"constraint {config.constraint}" if config.constraint != "none" else "",
    ]
    told = ", ".join(word for word in words if word)
    return f"{config.estimator.name} on {config.space.name}: {told}"


def images_in_words(data: DataSettings) -> str:
    """Return the data set and what one of its images is, as far as the settings say."""
    if (sizes := data.declared_sizes) is None:
        return data.dataset
    channels, _, side = sizes
    return f"{data.dataset} ({side}x{side}, {'grey' if channels == 1 else f'{channels} channels'})"


def limits_in_words(epochs: int, max_epochs: int | None, max_seconds: float | None) -> str:
    """Return how long a training is, and where it stops early."""
    from nasbench_snas.runs.progress import duration

    told = f"{epochs} epoch{'s' if epochs > 1 else ''}"
    if max_epochs is not None and max_epochs < epochs:
        told = f"{max_epochs} of {told}"
    return told if max_seconds is None else f"{told}, at most {duration(max_seconds)}"


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
        self._max_epochs, self._told = max_epochs, time.monotonic()
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
            self._told = time.monotonic()
        elif kind == "epoch":
            self._latest |= event
            self._console.print(self._epoch_line(event))
            self._told = time.monotonic()
        elif kind == "step" and self._progress is None:
            self._within_epoch(event)
        elif kind == "step":
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

    def _within_epoch(self, event: dict[str, Any]) -> None:
        """Print a line now and then, so that a log of a long epoch shows that it goes on."""
        from nasbench_snas.runs.progress import duration

        now = time.monotonic()
        if now - self._told < _EVERY_SECONDS:
            return
        self._told = now
        loss = f"  loss {event['train_loss']:.3f}" if "train_loss" in event else ""
        left = f"  about {duration(event['left_s'])} left" if "left_s" in event else ""
        step, steps = event["step"], event["total_steps"]
        self._console.print(f"  in epoch {event['epoch']}: step {step}/{steps}{loss}{left}")

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
    from nasbench_snas.runs.progress import duration
    from nasbench_snas.runs.schema import rule_in_words

    console = session.console()
    truncated = " [truncated]" if result["truncated"] else ""
    parts = (
        f"child  {rule_in_words(result)}: {result['child_valid_acc']:.2f} "
        f"(gap {result['child_gap']:+z.2f}; recalibrated "
        f"{result['child_valid_acc_recalibrated']:.2f})",
        f"params {result['params'] / 1e6:.4f} M",
        f"madds {result['macs'] / 1e6:.2f} M",
        f"edges {result['n_edges_kept']}/{result['n_edges']}",
    )
    console.print("   ".join(parts))
    if result.get("stopped_at"):
        console.print(
            f"stopped after epoch {result['stopped_at']} by {result['stopped_by']}: "
            f"{result['stop_reason']}; architecture of epoch {result['architecture_epoch']}"
        )
    with contextlib.suppress(ValueError):
        shown = folder.path.resolve().relative_to(folder.path.cwd())
        folder = type(folder)(shown)
    measuring = result.get("measurement_s", 0.0)
    also = f" (and {duration(measuring)} of measuring the child)" if measuring >= 10 else ""
    console.print(
        f"done in {duration(result['wall_s'])}{also} -> {folder.path}{truncated}"
        + (f"   ({note})" if note else ""),
    )


def final_line(session: Session) -> None:
    """Print what to do next."""
    session.console().print("next: nasbench report")
