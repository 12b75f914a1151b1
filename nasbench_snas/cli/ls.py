"""List plug-ins of any kind, presets, runs or tables."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from nasbench_snas.cli import _options
from nasbench_snas.cli._columns import print_rows
from nasbench_snas.errors import ConfigError
from nasbench_snas.registry import PLURALS

if TYPE_CHECKING:
    from nasbench_snas.cli.main import Session
    from nasbench_snas.registry import Entry, Kind


def _filter(*flags: str, about: str = "names") -> _options.Option:
    """Return an option that keeps runs of the given values, separated by commas."""
    return click.option(*flags, metavar="A,B", help=f"Runs: only these ({about}).")


def _values(name: str, text: str) -> tuple[str, ...]:
    """Return the values that a filter accepts; one that is empty would accept nothing, or all."""
    if name == "seed":
        from nasbench_snas.settings.seed_list import parse_seeds

        return tuple(map(str, parse_seeds(text)))
    values = tuple(value.strip() for value in text.split(","))
    if "" in values:
        raise ConfigError(f"--{name}: a value of {text!r} is empty.", fix="Give A or A,B.")
    return values


_EXAMPLES = """\b
Examples:
  nasbench ls estimators --matrix
  nasbench ls runs --status failed,stale --dataset cifar10
  nasbench ls runs -e snas,darts --watch"""


@click.command(name="ls", epilog=_EXAMPLES)
@click.argument(
    "what",
    type=click.Choice([*PLURALS, "presets", "runs", "tables"]),
    default="runs",
)
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON array; runs with the result schema's names."
)
@click.option("--matrix", is_flag=True, help="Estimators: which spaces and levels they support.")
@click.option("--reindex", is_flag=True, help="Runs: rebuild index.jsonl from the folders.")
@_filter("-e", "--estimator")
@_filter("-s", "--space")
@_filter("--dataset")
@_filter("--status", about="done, running, stale, failed …")
@_filter("--stage", about="search, retrain, transfer, gradients")
@_filter("-p", "--preset")
@_filter("--constraint")
@_filter("--seed", about="0,3 or 0-9")
@_filter("--name", about="parts of run ids")
@click.option("--watch", is_flag=True, help="Runs: look again every few seconds, until Ctrl-C.")
@click.pass_obj
def command(
    session: Session,
    /,
    what: str,
    as_json: bool,
    matrix: bool,
    reindex: bool,
    watch: bool,
    **wanted: str,
) -> None:
    """List WHAT (default: runs: searches, retrainings, gradient studies).

    Nothing heavy is imported, and no plug-in. What a run does is read from its folder, so that
    --watch shows runs of other machines, too, where they share the store. On a terminal the columns
    that fit are shown; into a file or pipe go all.
    """
    from nasbench_snas.cli import _runs_listing

    chosen = {name: _values(name, text) for name, text in wanted.items() if text is not None}
    if (chosen or watch) and what != "runs":
        raise ConfigError(f"--watch and filters are for runs, not for {what}.")
    if watch and as_json:
        raise ConfigError("--watch shows runs to people; --json lists them once.")
    if watch:
        _runs_listing.watch(session, chosen)
        return
    if what == "runs":
        found = _runs_listing.rows(session, chosen, rebuild=reindex)
        _runs_listing.show(session, found, chosen, as_json=as_json)
        return
    rows = {
        "estimators": lambda: _matrix(session) if matrix else _estimators(session),
        "presets": _presets,
        "tables": _tables,
    }.get(what, lambda: _plugins(session, PLURALS[what]))()
    if as_json:
        click.echo(json.dumps(rows, indent=1))
    elif not rows:
        click.echo(f"no {what}")
    else:
        print_rows(rows)


def _key(entry: Entry) -> str:
    """Return the BibTeX key of an entry's reference (which may be a whole BibTeX entry)."""
    text = str(entry.attributes.get("reference", ""))
    return text.partition("{")[2].partition(",")[0] if text.startswith("@") else text


def _estimators(session: Session) -> list[dict[str, Any]]:
    rows = []
    for entry in session.registry().estimators():
        known = entry.attributes
        rows.append(
            {
                "name": entry.name,
                "family": known.get("family", ""),
                "bias": known.get("bias", ""),
                "draws": _draws(entry),
                "cost of a draw": known.get("evaluations", ""),
                "reference": _key(entry),
                "origin": entry.origin,
                "summary": entry.problem or known.get("summary", ""),
            }
        )
    return rows


def _draws(entry: Entry) -> int:
    """Return the default number of architectures in a draw."""
    known = entry.attributes
    return int(known.get("settings", {}).get("n", known.get("n") or 1))


def _matrix(session: Session) -> list[dict[str, Any]]:
    """Return for each estimator the spaces and levels it runs on (read from its declarations)."""
    spaces = [entry for entry in session.registry().spaces() if not entry.problem]
    rows = []
    for entry in session.registry().estimators():
        usable = "no: broken" if entry.problem else "yes"
        row: dict[str, Any] = {"name": entry.name}
        gradient = entry.attributes.get("has_alpha_gradient", True)
        for space in spaces:
            huge = entry.attributes.get("enumerates") and not space.attributes.get("enumerable")
            row[space.name] = "no (too many architectures)" if huge else usable
        row["joint"] = usable
        for level in ("bilevel", "unrolled"):
            row[level] = usable if gradient or entry.problem else "yes (no alpha gradient)"
        rows.append(row)
    return rows


def _plugins(session: Session, kind: Kind) -> list[dict[str, Any]]:
    return [
        {
            "name": entry.name,
            "reference": _key(entry),
            "origin": entry.origin,
            "summary": entry.problem or entry.attributes.get("summary", ""),
        }
        for entry in session.registry().entries(kind)
    ]


def _presets() -> list[dict[str, Any]]:
    from nasbench_snas.settings.presets import load_preset, preset_names

    return [{"name": name, "about": load_preset(name).get("about", "")} for name in preset_names()]


def _tables() -> list[dict[str, Any]]:
    return [
        {"name": "1", "about": "search accuracy against child accuracy, no retraining"},
        {"name": "2", "about": "CIFAR-10 test error of retrained cells"},
        {"name": "3", "about": "ImageNet, mobile setting"},
        {"name": "estimators", "about": "gradient and child of every estimator, side by side"},
        {"name": "gradients", "about": "bias, variance and cost of the estimators"},
        {"name": "constraints", "about": "cost and accuracy by level of resource constraint"},
        {"name": "timing", "about": "time and memory of a search"},
        {"name": "tabular", "about": "regret and rank correlation against a tabulated space"},
    ]
