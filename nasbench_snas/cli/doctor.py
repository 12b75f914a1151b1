"""Report the environment; exit 3 if something that a preset needs is missing."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import click

from nasbench_snas.errors import MissingDependencyError

if TYPE_CHECKING:
    from nasbench_snas.cli.main import Session


@click.command(name="doctor")
@click.option("-p", "--preset", help="Check what this preset needs (its data).")
@click.option("--build", is_flag=True, help="Compile the C++ kernels now.")
@click.pass_obj
def command(session: Session, preset: str | None, build: bool) -> None:
    """Say what is here, what is missing, and how to get it."""
    from importlib.util import find_spec

    import torch

    from nasbench_snas.kernels import select_backend
    from nasbench_snas.registry import KINDS
    from nasbench_snas.runs.provenance import cpu_model, versions

    for name, version in versions().items():
        click.echo(f"{name:<16} {version}")
    click.echo(f"{'processor':<16} {cpu_model()}, {torch.get_num_threads()} threads")
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    click.echo(f"{'gpu':<16} {', '.join(gpus) or 'none'}")
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    click.echo(f"{'C++ compiler':<16} {compiler or 'none (plain PyTorch kernels are used)'}")
    if build:
        from nasbench_snas.kernels.cpu.build import build_cpu_kernels

        click.echo(f"{'build':<16} {build_cpu_kernels()}")
    click.echo(f"{'kernels':<16} {select_backend('auto', 'cpu', torch.float32)[1]}")
    for extra, module in (
        ("ray", "ray"),
        ("slurm", "submitit"),
        ("tensorboard", "tensorboard"),
        ("wandb", "wandb"),
        ("export", "onnx"),
    ):
        there = "installed" if find_spec(module) else f"pip install 'nasbench-snas[{extra}]'"
        click.echo(f"{'[' + extra + ']':<16} {there}")
    registry = session.registry()
    broken = [entry for kind in KINDS for entry in registry.entries(kind) if entry.problem]
    for entry in {(e.name, e.origin, e.problem): e for e in broken[::-1]}.values():
        click.echo(f"BROKEN {entry.kind} {entry.name} ({entry.origin}): {entry.problem}")
    if preset is not None:
        _check_data(preset)


def _check_data(preset: str) -> None:
    from nasbench_snas.data.presence import verify
    from nasbench_snas.data.settings import DataSettings
    from nasbench_snas.settings.presets import load_preset

    settings = DataSettings.model_validate(load_preset(preset).get("data", {}))
    report = verify(settings)
    for check in report.checks:
        click.echo(f"{'ok ' if check.ok else 'BAD'} {check.name}: {check.detail}")
    if not report.ok:
        what = f"preset {preset!r} cannot run: data set {settings.dataset!r} is missing or damaged."
        raise MissingDependencyError(what, fix=report.fix)
