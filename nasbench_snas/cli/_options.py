"""Options that several commands share, each said once.

What differs between commands (a help text, the choices) is an argument; an option that one command
alone has stays in its file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from nasbench_snas.architecture.genotype import Genotype

Option = Callable[[Callable[..., Any]], Callable[..., Any]]

LEVELS = ("none", "mild", "moderate", "aggressive")

data_root: Option = click.option(
    "--data-root", type=click.Path(path_type=Path), help="Folder that holds the data."
)
settings_file: Option = click.option(
    "-c", "--config", "file", type=click.Path(exists=True, path_type=Path)
)
assignments: Option = click.option(
    "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Repeatable."
)
device: Option = click.option(
    "--device", default="auto", show_default=True, metavar="auto|cpu|cuda[:i]"
)
deterministic: Option = click.option(
    "--deterministic/--no-deterministic", default=True, show_default=True
)
derive: Option = click.option(
    "--derive",
    metavar="RULE",
    help="How the child is derived; see `nasbench ls rules`. [default: as the estimator says]",
)
theta_policy: Option = click.option(
    "--theta-policy",
    type=click.Choice(["estimator", "uniform", "strict-fairness", "sandwich"]),
    help="What trains theta at the levels bilevel and unrolled. [default: estimator]",
)
transform: Option = click.option(
    "--transform",
    "transform",
    multiple=True,
    metavar="NAME",
    help="Objective transformer; repeatable, the first is innermost. See `nasbench ls "
    "transformers`.",
)
stop: Option = click.option(
    "--stop",
    "stop",
    multiple=True,
    metavar="NAME",
    help="Early stop; repeatable. See `nasbench ls stops`.",
)
dry_run: Option = click.option(
    "--dry-run", is_flag=True, help="Show what would run; nothing is written."
)
measure: Option = click.option(
    "--measure", is_flag=True, help="As --dry-run, and run a few steps for the time."
)
track: Option = click.option(
    "--track",
    type=click.Choice(["none", "tensorboard", "wandb"]),
    default="none",
    show_default=True,
    help="Send events to a tracker.",
)
as_json: Option = click.option("--json", "as_json", is_flag=True, help="Machine-readable.")


def seeds(about: str = "") -> Option:
    """Return ``--seed``, also ``--seeds``: one seed, a list, or a range."""
    return click.option(
        "--seed",
        "--seeds",
        "seeds",
        default="0",
        show_default=True,
        metavar="SPEC",
        help=f"{about}0 | 0,3 | 0-9",
    )


def amp(kinds: Sequence[str]) -> Option:
    """Return ``--amp`` with the given types besides ``off``."""
    return click.option("--amp", type=click.Choice(["off", *kinds]), help="Default: off.")


def kernels(backends: Sequence[str], about: str) -> Option:
    """Return ``--kernels`` with the given backends besides ``auto``."""
    return _choice("--kernels", ["auto", *backends], "auto", about)


def resume(name: str) -> Option:
    """Return ``--resume``; ``name`` stands for the name of what continues."""
    return click.option("--resume", default="auto", show_default=True, metavar=f"auto|never|{name}")


def rerun(states: Sequence[str], about: str) -> Option:
    """Return ``--rerun`` with the given states besides ``none``."""
    return _choice("--rerun", ["none", *states], "none", about)


def max_epochs(what: str) -> Option:
    """Return ``--max-epochs`` for ``what`` ("run")."""
    text = f"Stop early; the {what} is marked truncated."
    return click.option("--max-epochs", type=click.IntRange(min=1), help=text)


_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


class Seconds(click.FloatRange):
    """A finite time, 0 or more: seconds (``90``), or with a unit (``15m``, ``2h``, ``1d``)."""

    def __init__(self) -> None:
        super().__init__(min=0)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return seconds; fails where it is no number, infinite or negative."""
        text = str(value).strip()
        unit = _UNITS.get(text[-1:].lower())
        given: Any = text if unit is None else text[:-1]
        try:
            float(given)
        except ValueError:
            self.fail(f"{value!r} is no time; write 90 (seconds), 15m, 1.5h or 2d.", param, ctx)
        number = super().convert(given, param, ctx) * (unit or 1.0)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number of seconds.", param, ctx)
        return number


max_time: Option = click.option(
    "--max-time",
    type=Seconds(),
    metavar="TIME",
    help="As --max-epochs, for all that one run does, the measurement of what it found included: "
    "90 (seconds), 15m, 2h.",
)


def given(options: Mapping[str, Any], keys: Mapping[str, str]) -> list[str]:
    """Return the options that were given as assignments ``KEY="VALUE"``.

    Args:
        options: Values by option.
        keys: The setting that each option is short for.
    """
    return [
        f"{key}={json.dumps(str(options[option]), ensure_ascii=False)}"  # also TOML
        for option, key in keys.items()
        if options[option]
    ]


def composed(options: Mapping[str, Any]) -> list[str]:
    """Return the assignments that ``--transform`` and ``--stop`` are short for, where given."""
    keys = {"transform": "transformers", "stop": "stops"}
    return [
        f"{key}={json.dumps(list(options[option]), ensure_ascii=False)}"
        for option, key in keys.items()
        if options[option]
    ]


def _choice(name: str, values: list[str], default: str, about: str) -> Option:
    kind = click.Choice(values)
    return click.option(name, type=kind, default=default, show_default=True, help=about)


def say_notes(genotype: Genotype) -> None:
    """Say on standard error what reading a genotype chose or dropped."""
    for note in genotype.notes:
        click.echo(f"note: {genotype.name or 'genotype'}: {note}", err=True)
