"""Evaluate a trained network on a split: top-1, top-5, confidence interval, confusion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nasbench_snas.cli import _options

if TYPE_CHECKING:
    from nasbench_snas.cli.main import Session


@click.command(name="evaluate")
@click.argument("target", metavar="CHECKPOINT|RUN")
@click.option(
    "--split",
    type=click.Choice(["test", "train", "search_valid"]),
    default="test",
    show_default=True,
    help="search_valid: the images that measured a search.",
)
@click.option("--batch-size", type=click.IntRange(1), default=256, show_default=True)
@click.option(
    "--level",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.95,
    show_default=True,
    help="Of the confidence interval (Wilson).",
)
@click.option("--confusion", is_flag=True, help="Images of each class by predicted class.")
@_options.data_root
@_options.device
@_options.as_json
@click.pass_obj
def command(
    session: Session,
    target: str,
    split: str,
    batch_size: int,
    level: float,
    confusion: bool,
    data_root: Path | None,
    device: str,
    as_json: bool,
) -> None:
    """Evaluate the network of a RUN (a retraining, or a search's child) or of a CHECKPOINT in it.

    The child of a search has the weights and batch-norm statistics that it inherits. The interval
    is about the images that might have been drawn, not about other training seeds.
    """
    import dataclasses

    from nasbench_snas.compute.device import resolve_device
    from nasbench_snas.evaluate.images import split_batches
    from nasbench_snas.evaluate.load import load_trained
    from nasbench_snas.retrain.accuracy import evaluate
    from nasbench_snas.runs.plugins import check_plugins

    where = resolve_device(device)
    loaded = load_trained(target, root=session.root, device=where, registry=session.registry())
    check_plugins(loaded.folder, session.registry(), ("dataset",))
    if data_root is not None:
        data = loaded.data.model_copy(update={"root": data_root})
        loaded = dataclasses.replace(loaded, data=data)
    batches = split_batches(loaded, split, batch_size, where)
    found = evaluate(loaded.network, batches, loaded.num_classes)
    values = {
        "run_id": loaded.folder.run_id,
        "stage": loaded.stage,
        "dataset": loaded.data.dataset,
        "split": split,
        "epoch": loaded.epoch,
        **found.as_dict(level, confusion=confusion),
    }
    click.echo(json.dumps(values, indent=1) if as_json else _text(values))


def _text(values: dict[str, Any]) -> str:
    lines = [
        f"{values['run_id']}   {values['stage']}   {values['dataset']}/{values['split']}   "
        f"{values['images']} images   weights of epoch {values['epoch']}"
    ]
    for name, words in (("top1", "top-1"), ("top5", "top-5")):
        if values[f"acc_{name}"] is not None:
            low, high = values[f"ci_{name}"]
            lines.append(
                f"{words}  accuracy {values[f'acc_{name}']:.2f} %   error "
                f"{values[f'err_{name}']:.2f} %   {100 * values['level']:g} % interval of the "
                f"accuracy {low:.2f} to {high:.2f}"
            )
    lines.append(f"loss   {values['loss']:.4f}")
    if "confusion" in values:
        width = max(len(str(n)) for row in values["confusion"] for n in row) + 1
        lines.append("confusion (rows: true class, columns: predicted)")
        lines += ["".join(str(n).rjust(width) for n in row) for row in values["confusion"]]
    return "\n".join(lines)
