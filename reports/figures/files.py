"""All figures of a report, in the order of the paper, and their files."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from nasbench_snas.architecture.genotype import Genotype
from nasbench_snas.errors import ConfigError, NasbenchError, suggest
from nasbench_snas.runs.folder import read_object

from ..draw.cell import draw_frequencies, draw_genotype, save_figure
from ..tables.model import slug
from ..tables.selection import Comparable, Run, Variant
from .pareto import pareto_fronts
from .results import child_gap, constraint_strength, cost_and_error, several_spaces
from .search import entropy, epoch_events, search_progress
from .style import Drawing, watermark
from .truth import parent_and_known, regret

_LOG = logging.getLogger("nasbench_snas")

KINDS = (
    "cells",
    "3",
    "4",
    "6",
    "regret",
    "truth",
    "gap",
    "pareto",
    "constraints",
    "profile",
    "improvement",
)
"""What ``--figure`` knows; 2, 5 and 7 are ``cells``."""

_CELLS = {"2": "cells", "5": "cells", "7": "cells"}
_FIGURE_OF = {"mild": "2", "aggressive": "5", "moderate": "7"}


def wanted(names: Sequence[str]) -> tuple[str, ...]:
    """Return the kinds that ``names`` ask for.

    Raises:
        ConfigError: A name is unknown.
    """
    kinds: list[str] = []
    for name in names:
        known = (*KINDS, *_CELLS, "all", "none")
        if name not in known:
            raise ConfigError(f"unknown figure {name!r}.", suggest(name, known))
        if name == "all":
            kinds += KINDS
        elif name != "none":
            kinds.append(_CELLS.get(name, name))
    return tuple(kind for kind in KINDS if kind in kinds)


def drawings(
    groups: Sequence[Comparable], rows: Sequence[Run], names: Sequence[str]
) -> list[Drawing]:
    """Return the figures of a report.

    Args:
        groups: Comparable searches.
        rows: All rows, for the gradient studies.
        names: Kinds of figures; see :data:`KINDS`.
    """
    kinds = wanted(names)
    made: list[Drawing | None] = []
    for group in groups:
        history = {}
        if {"3", "4", "regret"} & set(kinds):
            runs = [run for v in group.variants for run in (*v.runs, *v.failed)]
            history = {str(run["run_id"]): epoch_events(run) for run in runs}
        if "3" in kinds:
            made.append(search_progress(group, history))
        if "4" in kinds:
            made.append(entropy(group, history))
        if "regret" in kinds:
            made.append(regret(group, history))
        if "truth" in kinds:
            made.append(parent_and_known(group))
        if "gap" in kinds:
            made.append(child_gap(group))
        if "pareto" in kinds:
            made.append(cost_and_error(group))
        if "cells" in kinds:
            made += [d for v in group.variants if v.runs for d in _cells(group, v)]
    if "pareto" in kinds:
        made += pareto_fronts(groups)
    if "constraints" in kinds:
        made += constraint_strength(groups)
    if {"profile", "improvement"} & set(kinds):
        made += [drawing for drawing in several_spaces(groups) if drawing.kind in kinds]
    if "6" in kinds:
        made += _studies(rows)
    return [drawing for drawing in made if drawing is not None]


def _cells(group: Comparable, variant: Variant) -> list[Drawing]:
    """Return the cells of the best seed and, for several seeds, how often each edge was chosen."""
    import json

    genotypes = {}
    for run in variant.runs:
        try:
            plain = json.loads(run["genotype"])
            genotypes[str(run["run_id"])] = Genotype.from_dict(plain, recorded=True)
        except (NasbenchError, TypeError, ValueError):
            continue
    ranked = [run for run in variant.runs if str(run["run_id"]) in genotypes]
    if not ranked:
        return []
    best = max(ranked, key=lambda run: (run["search_valid_acc"], -run["seed"]))
    number = _FIGURE_OF.get(group.constraint)
    start = f"Figure {number}. Cells" if number and variant.estimator == "snas" else "Cells"
    base = f"cells-{slug(variant.label)}-{group.slug}"
    shown = [
        Drawing(
            f"{base}-best",
            "cells",
            f"{start} of {variant.label}, seed {best['seed']}",
            "Derived cells of the seed with the best search accuracy; grey: dropped nodes and "
            f"unused inputs. {group.subject}.",
            _marked(draw_genotype(genotypes[str(best["run_id"])]), group.provisional),
            (str(best["run_id"]),),
            group.provisional,
            adaptive=False,
        )
    ]
    if len(genotypes) > 1:
        shown.append(
            Drawing(
                f"{base}-frequency",
                "cells",
                f"Edges of {variant.label} over {len(genotypes)} seeds",
                "How often each edge was chosen: width of the line and percentage. "
                f"{group.subject}.",
                _marked(draw_frequencies(list(genotypes.values())), group.provisional),
                tuple(sorted(genotypes)),
                group.provisional,
                adaptive=False,
            )
        )
    return shown


def _marked(figure: Figure, provisional: bool) -> Figure:
    """Put the watermark of smoke, small and truncated runs behind the cells."""
    if provisional:
        watermark(figure.axes, True)
    return figure


def _studies(rows: Sequence[Run]) -> list[Drawing]:
    """Return what Figure 6 sketches, measured: the figures of each gradient study."""
    from . import gradients

    plots: tuple[tuple[str, str, Callable[[dict[str, Any]], Any]], ...] = (
        ("bias-variance", "Bias and variance of each estimator", gradients.bias_variance),
        ("temperature", "Bias and variance against temperature", gradients.temperature_sweep),
        ("training", "Bias and variance over training", gradients.over_training),
        ("compute", "Error against compute", gradients.mse_against_compute),
        ("edges", "Bias by edge", gradients.edge_heat_map),
    )
    folders = {str(r["folder"]): r for r in rows if r["stage"] == "gradients" and r["coord_set"]}
    made = []
    for folder, row in sorted(folders.items()):
        result = read_object(Path(folder) / "result.json")
        for name, title, plot in plots:
            try:
                figure = plot(result)
            except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
                _LOG.warning("no figure %s of %s, whose result is damaged: %r", name, folder, error)
                continue
            if figure is not None:
                made.append(
                    Drawing(
                        f"figure6-{slug(str(row['run_id']))}-{name}",
                        "6",
                        f"Figure 6, measured. {title}",
                        f"Study {row['run_id']}: {row['space']}, {row['dataset']}, everything "
                        "frozen at the point; against the exact gradient unless the study says "
                        "otherwise. A mark on the frame lies on or beyond it; a hollow triangle at "
                        "the lower end is zero, negative or not resolved.",
                        figure,
                        (str(row["run_id"]),),
                        bool(row["truncated"]),
                        adaptive=False,
                    )
                )
    return made


def write_drawing(drawing: Drawing, folder: Path, *, pdf: bool = True) -> list[Path]:
    """Write a figure as SVG and, if asked to, as PDF and return the files, the SVG first."""
    suffixes = ("svg", "pdf") if pdf else ("svg",)
    paths = [folder / f"{drawing.name}.{suffix}" for suffix in suffixes]
    for path in paths:
        save_figure(drawing.figure, path)
    return paths


def inline_svg(content: str, number: int) -> str:
    """Return the SVG element of a file's content for an HTML page.

    Args:
        content: The file.
        number: Makes ids unique on the page: they start with ``f<number>-``.
    """
    svg = content[content.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="f{number}-', svg)
    svg = re.sub(r'href="#', f'href="#f{number}-', svg)
    svg = svg.replace("url(#", f"url(#f{number}-")
    head, end, body = svg.partition(">")
    return re.sub(r' (?:width|height)="[^"]*"', "", head) + end + body
