"""What ``nasbench retrain`` shows: as ``nasbench run``, with a retraining's numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nasbench_snas.cli._run_display import RunDisplay, images_in_words, limits_in_words

if TYPE_CHECKING:
    from nasbench_snas.cli.main import Session
    from nasbench_snas.retrain.plan import PlannedRetraining
    from nasbench_snas.runs.folder import RunFolder


class RetrainDisplay(RunDisplay):
    """Context that shows one retraining's events."""

    header = "epoch      train_acc  train_loss  test_acc        lr  drop_path  images/s  s/epoch"
    task = "retrain"

    def _epoch_line(self, event: dict[str, Any]) -> str:
        epochs = self._plan.config.training.epochs
        test = f"{event['test_acc']:.2f}" if "test_acc" in event else "-"
        return (
            f"{event['epoch']}/{epochs}".ljust(9)
            + f"{event['train_acc']:.2f}".rjust(11)
            + f"{event['train_loss']:.3f}".rjust(12)
            + test.rjust(10)
            + f"{event['theta_lr']:.5f}".rjust(10)
            + f"{event['drop_path']:.3f}".rjust(11)
            + f"{event['images_per_s']:.0f}".rjust(10)
            + f"{event['seconds']:.2f}".rjust(9)
        )


def announce_retraining(
    session: Session,
    plan: PlannedRetraining,
    device: str,
    max_epochs: int | None = None,
    max_seconds: float | None = None,
) -> None:
    """Print what the retraining is, what its preset is, and where it computes.

    Args:
        session: The command's session.
        plan: The retraining, the first one of several.
        device: Where it computes.
        max_epochs: Epochs after which it stops; None: at its end.
        max_seconds: Seconds after which it stops; None: at its end.
    """
    from nasbench_snas.runs.provenance import device_name, versions
    from nasbench_snas.settings.retrain import load_retrain_preset

    console, config = session.console(), plan.config
    preset, network, training = config.preset, config.network, config.training
    about = load_retrain_preset(preset).get("about", "")
    parts = [
        f"{network.cells} cells" if network.cells else "",
        f"{network.channels} channels" if network.channels else "",
        images_in_words(config.data),
        limits_in_words(training.epochs, max_epochs, max_seconds),
        f"batch {training.batch_size}",
    ]
    console.print(f"retrain {config.name}: {', '.join(part for part in parts if part)}")
    console.print(f"preset {preset}: {about}")
    console.print(f"device {device_name(device)}   torch {versions()['torch']}")


def show_retraining(
    session: Session, folder: RunFolder, result: dict[str, Any], note: str = ""
) -> None:
    """Print the test error, its interval, size and folder."""
    from nasbench_snas.runs.progress import duration

    console = session.console()
    low, high = result["test_ci_top1"]
    five = result["test_err_top5"]
    parts = [
        f"test error, last epoch: {result['test_err_top1']:.2f} % "
        f"(95 % interval of {result['test_images']} images: {100 - high:.2f} to {100 - low:.2f})",
        *([] if five is None else [f"top-5 {five:.2f} %"]),
        f"params {result['params'] / 1e6:.3f} M",
        f"madds {result['macs'] / 1e6:.1f} M",
    ]
    console.print("   ".join(parts))
    if result["selection"] != "each seed":
        console.print(
            f"chosen as best of {len(result['candidates'])} by search validation accuracy: "
            f"{result['parent_id']}",
        )
    if result["over_budget"]:
        console.print("above the limit on multiply-adds (--allow-over-budget)")
    end = " [truncated]" if result["truncated"] else ""
    end += f"   ({note})" if note else ""
    console.print(f"done in {duration(result['wall_s'])} -> {folder.path}{end}")
