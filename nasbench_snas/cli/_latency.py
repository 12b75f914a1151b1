"""``nasbench cost SPACE --measure-latency``: times the operations of a search's space."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from nasbench_snas.cli import _options
from nasbench_snas.errors import ConfigError

if TYPE_CHECKING:
    from nasbench_snas.architecture.space import Space

_TIMING = ("preset", "assignments", "batch", "rounds", "device", "out")
Print = Callable[[Any, str, list[str], list[list[str]], str], None]


def run_space(session: Any, name: str, preset: str, assignments: tuple[str, ...]) -> Space:
    """Return the space as a search with these settings would build it.

    Raises:
        ConfigError: A setting is wrong, or the images are not known from the settings.
    """
    from nasbench_snas.settings.parameters import create
    from nasbench_snas.settings.run import resolve

    registry = session.registry()
    registry.entry("space", name)
    config, _ = resolve("snas", name, preset=preset, assignments=assignments)
    sizes = config.data.declared_sizes
    if sizes is None:
        raise ConfigError(
            f"the images of {config.data.dataset!r} are known to its files alone.",
            "The size of an image decides what an operation takes.",
            "Give data.resolution by --set and a data set of that size, for example data.dataset="
            "cifar10.",
        )
    space: Space = create(registry.space(name), config.space.parameters, "space").build(*sizes)
    return space


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of ``--measure-latency`` to a command."""
    about = "--measure-latency: "
    number = click.IntRange(1)
    every = (
        click.option(
            "--measure-latency", is_flag=True, help="Time the operations of a space here."
        ),
        click.option("-p", "--preset", default="smoke", help=f"{about}settings of the search."),
        _options.assignments,
        click.option("--batch", type=number, default=1, help=f"{about}images of a call."),
        click.option("--rounds", type=number, default=30, help=f"{about}timings of everything."),
        _options.device,
        click.option(
            "--out", type=click.Path(path_type=Path), help=f"{about}write the table there."
        ),
    )
    for option in reversed(every):
        command = option(command)
    return command


def refuse_without_timing() -> None:
    """Raise a usage error if the command was given options that only a measurement has."""
    context = click.get_current_context()
    given = [
        option.opts[-1]
        for option in context.command.params
        if option.name in _TIMING
        and context.get_parameter_source(option.name) is ParameterSource.COMMANDLINE
    ]
    if given:
        raise click.UsageError(f"only --measure-latency takes {', '.join(given)}.")


def measure(
    session: Any,
    target: str,
    *,
    measure_latency: bool,
    preset: str,
    assignments: tuple[str, ...],
    device: str,
    batch: int,
    rounds: int,
    out: Path | None,
    style: str,
    as_json: bool,
    show: Print,
) -> None:
    """Time the operations, print them with their spread, and write the table.

    Raises:
        ConfigError: The file exists, or a setting is wrong.
    """
    from nasbench_snas.compute.device import resolve_device
    from nasbench_snas.cost import latency
    from nasbench_snas.runs.folder import write_atomic
    from nasbench_snas.runs.provenance import device_name

    if out is not None and out.exists():
        raise ConfigError(f"{out} exists already.", fix="Give another --out, or remove it.")
    where = resolve_device(device)
    space = run_space(session, target, preset, assignments)
    found = latency.measure_latency(
        space, device=where, name=device_name(where), batch=batch, rounds=rounds
    )
    content = json.dumps(found.content(), indent=1) + "\n"
    if out is not None:
        write_atomic(out, content)
    if as_json:
        click.echo(content.rstrip())
        return
    rows = [
        [t.part.what, str(t.part.channels), str(t.part.stride), str(t.part.resolution),
         f"{t.lower:.4f}", f"{t.median:.4f}", f"{t.upper:.4f}", str(t.n)]
        for t in found.parts
    ]  # fmt: skip
    titles = ["part", "channels", "stride", "pixels", "lower", "median", "upper", "n"]
    title = (
        f"{space.name}: milliseconds of a call, batch {batch}, {found.device}, "
        f"{found.threads} thread(s)"
    )
    show(session, title, titles, rows, style)
    if out is not None:
        click.echo(f"wrote {out}")
        click.echo(
            "next: nasbench run … --set cost.criterion=table "
            f"--set cost.parameters.file={shlex.quote(str(out))} --set cost.eta=0.1"
        )
