"""List estimators, spaces, presets, datasets, runs or tables."""

from __future__ import annotations

import json
import shutil
import sys
import time
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from nasbench_snas.cli.main import Session
    from nasbench_snas.registry import Entry


_RUN_COLUMNS = (
    "run_id stage status reason epochs_done epochs_planned search_valid_acc child_valid_acc "
    "test_err_top1 gpu_days updated note"
).split()


@click.command(name="ls")
@click.argument(
    "what",
    type=click.Choice(["estimators", "spaces", "presets", "datasets", "runs", "tables"]),
    default="runs",
)
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON array; runs with the result schema's names."
)
@click.option("--matrix", is_flag=True, help="Estimators: which spaces and levels they support.")
@click.option("--reindex", is_flag=True, help="Runs: rebuild index.jsonl from the folders.")
@click.pass_obj
def command(session: Session, what: str, as_json: bool, matrix: bool, reindex: bool) -> None:
    """List WHAT (default: runs: searches, retrainings, gradient studies).

    Nothing heavy is imported.
    """
    rows = {
        "estimators": lambda: _matrix(session) if matrix else _estimators(session),
        "spaces": lambda: _spaces(session),
        "presets": _presets,
        "datasets": _datasets,
        "runs": lambda: _runs(session, reindex),
        "tables": _tables,
    }[what]()
    if as_json:
        click.echo(json.dumps(rows, indent=1))
    elif not rows:
        click.echo(f"no {what} in {session.root}" if what == "runs" else f"no {what}")
    else:
        _print([_shown(row) for row in rows] if what == "runs" else rows)


_LEAST = ("origin", "reference", "note", "error", "gpu-days", "cost of a draw", "draws", "stage")
"""Columns that a narrow terminal does without, in this order; those without content first."""
_LEGEND = {
    "search": "search, child: validation accuracy (%) in search and of the derived child",
    "error": "error: test error (%)",
    "bias": "bias: what the method declares",
    "cost of a draw": "F: one forward pass, K: operations, E: edges, n: architectures",
}


def _print(rows: list[dict[str, Any]]) -> None:
    """Print a table; on a terminal it fits and says what its columns are, and what is left out."""
    names = list(rows[0])
    texts = {name: [_text(row.get(name)) for row in rows] for name in names}
    terminal, width = sys.stdout.isatty(), shutil.get_terminal_size().columns
    shown = _fitting(texts, width) if terminal else names
    widths = {name: max(len(name), *map(len, texts[name])) for name in shown}
    click.echo("  ".join(name.upper().ljust(widths[name]) for name in shown).rstrip())
    for place in range(len(rows)):
        cells = (texts[name][place].ljust(widths[name]) for name in shown)
        line = "  ".join(cells).rstrip()
        click.echo(f"{line[: width - 1]}…" if terminal and len(line) > width else line)
    if terminal:
        legend = [_LEGEND[name] for name in shown if name in _LEGEND]
        hidden = [name for name in names if name not in shown]
        legend += [f"not shown: {', '.join(hidden)} (--json)"] if hidden else []
        click.echo("; ".join(legend) + ("" if not legend else "."))


def _fitting(texts: dict[str, list[str]], width: int) -> list[str]:
    """Return the columns that fit a width, the first and the last always among them."""
    empty = [name for name in _LEAST if set(texts.get(name, [])) == {"-"}]
    shown = list(texts)
    for name in [*empty, *_LEAST]:
        total = sum(2 + max(len(n), *map(len, texts[n])) for n in shown) - 2
        if total <= width:
            break
        if name in shown:
            shown.remove(name)
    return shown


def _text(value: Any) -> str:
    if value is None or value == "":
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else " ".join(str(value).split())


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


def _spaces(session: Session) -> list[dict[str, Any]]:
    return [
        {
            "name": entry.name,
            "reference": _key(entry),
            "origin": entry.origin,
            "summary": entry.problem or entry.attributes.get("summary", ""),
        }
        for entry in session.registry().spaces()
    ]


def _presets() -> list[dict[str, Any]]:
    from nasbench_snas.settings.presets import load_preset, preset_names

    return [{"name": name, "about": load_preset(name).get("about", "")} for name in preset_names()]


def _datasets() -> list[dict[str, Any]]:
    from nasbench_snas.data.catalogue import list_datasets

    return [{"name": info.name, "about": info.summary} for info in list_datasets()]


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


def _runs(session: Session, reindex: bool) -> list[dict[str, Any]]:
    from nasbench_snas.runs.index import read_index

    return [
        {key: row.get(key) for key in _RUN_COLUMNS}
        for row in read_index(session.root, rebuild=reindex)
    ]


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """Return a run as people read it."""
    epochs = f"{row['epochs_done'] or 0}/{row['epochs_planned'] or '?'}"
    return {
        "run": row["run_id"],
        "stage": row["stage"],
        "status": row["status"],
        "epoch": "" if row["stage"] == "gradients" else epochs,
        "search": row["search_valid_acc"],
        "child": row["child_valid_acc"],
        "error": row["test_err_top1"],
        "gpu-days": row["gpu_days"],
        "age": _age(time.time() - row["updated"]) if row["updated"] else "",
        "note": row["note"],
    }


def _age(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{max(seconds, 0):.0f}s"
