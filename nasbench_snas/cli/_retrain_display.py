"""What ``nasbench retrain`` shows: as ``nasbench run``, with a retraining's numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nasbench_snas.cli._run_display import RunDisplay

if TYPE_CHECKING:
    from nasbench_snas.cli.main import Session
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


def announce_retraining(session: Session, preset: str, device: str) -> None:
    """Print what the preset is and where the retrainings compute."""
    from nasbench_snas.runs.provenance import device_name, versions
    from nasbench_snas.settings.retrain import load_retrain_preset

    console = session.console()
    about = load_retrain_preset(preset).get("about", "")
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
