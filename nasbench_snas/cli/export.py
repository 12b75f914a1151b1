"""Export a trained network as a torch.export program or ONNX file, checked against the module."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from nasbench_snas.cli.main import Session


@click.command(name="export")
@click.argument("target", metavar="CHECKPOINT|RUN")
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE")
@click.pass_obj
def command(session: Session, target: str, path: Path) -> None:
    """Write the network of a RUN, or of a CHECKPOINT in it, to FILE (.pt2 or .onnx).

    The file takes normalised images of any batch size and returns logits. ONNX needs the extra
    nasbench-snas[export].
    """
    from nasbench_snas.evaluate.export import export_network
    from nasbench_snas.evaluate.load import load_trained

    loaded = load_trained(target, root=session.root, registry=session.registry())
    difference = export_network(loaded.network, loaded.shape, path)
    channels, height, width = loaded.shape
    beside = path.with_name(f"{path.name}.data")
    if path.suffix == ".onnx" and str(beside.name).encode() in path.read_bytes():
        click.echo(f"the weights stand in {beside}: keep the two files together")
    click.echo(
        f"{loaded.folder.run_id} -> {path}   images (B, {channels}, {height}, {width}) to logits "
        f"(B, {loaded.num_classes})   largest relative difference {difference:.1e}"
    )
