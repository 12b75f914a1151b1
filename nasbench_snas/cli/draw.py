"""Draw cells and the distribution of a search: SVG, PDF, PNG and .dot text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nasbench_snas.cli import _options

if TYPE_CHECKING:
    from nasbench_snas.architecture.genotype import Genotype

_FORMATS = ("svg", "pdf", "png", "dot")


_EXAMPLES = """\b
Examples:
  nasbench draw snas-mild --together
  nasbench draw genotypes.py:DARTS_V2 --format pdf,svg
  nasbench draw run-a run-b --frequency"""


@click.command("draw", epilog=_EXAMPLES)
@click.argument("targets", nargs=-1, required=True, metavar="TARGET…")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("."),
    show_default=True,
    help="Folder for the drawings.",
)
@click.option(
    "--format",
    "formats",
    default="svg",
    show_default=True,
    help="Comma-separated: svg, pdf, png, dot.",
)
@click.option("--together", is_flag=True, help="All cells of a genotype in one picture.")
@click.option(
    "--frequency",
    is_flag=True,
    help="One picture of all targets: line width is how many of them chose an edge.",
)
@click.option(
    "--min-frequency",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="With --frequency: leave out rarer edges.",
)
@click.option("--evolution", is_flag=True, help="Runs: heat map of the distribution over epochs.")
@click.option("--animate", is_flag=True, help="Runs: animated GIF of the distribution.")
@click.option("--dpi", type=click.IntRange(30), default=200, show_default=True, help="For PNG.")
@click.pass_obj
def command(
    session: Any,
    targets: tuple[str, ...],
    out: Path,
    formats: str,
    together: bool,
    frequency: bool,
    min_frequency: float,
    evolution: bool,
    animate: bool,
    dpi: int,
) -> None:
    """Draw the normal and the reduction cell of genotypes and runs.

    A TARGET is a genotype (a name of the zoo, FILE, FILE:NAME, - for standard input, or the text),
    `zoo` for all of them, or a run (a folder, or its name in --root). Dropped nodes are grey.
    No external program is needed; the same cell always gives the same file.
    """
    kinds = _kinds(formats)
    found = [pair for target in targets for pair in _genotypes(session, target)]
    if frequency:
        _draw_frequencies([g for _, g in found], out, kinds, min_frequency, dpi)
    else:
        for name, genotype in found:
            _draw(name, genotype, out, kinds, together, dpi)
    if evolution or animate:
        for target in targets:
            _draw_evolution(session, target, out, kinds, evolution, animate, dpi)


def _kinds(formats: str) -> list[str]:
    kinds = [kind.strip() for kind in formats.split(",") if kind.strip()]
    unknown = [kind for kind in kinds if kind not in _FORMATS]
    if unknown or not kinds:
        raise click.UsageError(
            f"unknown format {', '.join(unknown) or '(none)'}. Known: {', '.join(_FORMATS)}."
        )
    return kinds


def _genotypes(session: Any, target: str) -> list[tuple[str, Genotype]]:
    from nasbench_snas.architecture.text import load_genotype
    from nasbench_snas.architecture.zoo import zoo, zoo_key, zoo_names
    from nasbench_snas.evaluate.genotypes import FoundGenotype, find_genotype

    if zoo_key(target) == "zoo":
        return [(name, zoo(name)) for name in zoo_names()]
    found = find_genotype(target, session.root) or FoundGenotype(load_genotype(target))
    _options.say_notes(found.genotype)
    name = found.folder.resolve().name if found.folder is not None else found.genotype.name
    return [(name or "genotype", found.genotype)]


def _cell_stems(name: str, genotype: Genotype) -> dict[str, str]:
    """Return for each cell a file name without suffix: what a stranger called it is cleaned."""
    from nasbench_snas.outside import file_name

    stems: dict[str, str] = {}
    for number, cell in enumerate(genotype.cells, 1):
        stem = f"{file_name(name, 'genotype')}-{file_name(cell, f'cell{number}', longest=60)}"
        while stem in stems.values():
            stem += f"-{number}"
        stems[cell] = stem
    return stems


def _draw(
    name: str, genotype: Genotype, out: Path, kinds: list[str], together: bool, dpi: int
) -> None:
    from nasbench_snas.outside import file_name
    from nasbench_snas.reports.draw.cell import (
        dot_text,
        draw_cells,
        genotype_panels,
        save_figure,
    )

    stems = _cell_stems(name, genotype)
    panels = genotype_panels([genotype])
    pictures = [(file_name(name, "genotype"), panels)] if together else []
    if not together:
        cells = zip(stems.values(), panels, strict=True)
        pictures = [(stem, [panel]) for stem, panel in cells]
    for kind in kinds:
        if kind == "dot":
            out.mkdir(parents=True, exist_ok=True)
            for cell_name, cell in genotype.cells.items():
                path = out / f"{stems[cell_name]}.dot"
                path.write_text(dot_text(cell, f"{name} {cell_name}"), encoding="utf-8")
                click.echo(str(path))
            continue
        for file, parts in pictures:
            path = out / f"{file}.{kind}"
            save_figure(draw_cells(parts, captions=together), path, dpi=dpi)
            click.echo(str(path))


def _draw_frequencies(
    genotypes: list[Genotype], out: Path, kinds: list[str], least: float, dpi: int
) -> None:
    from nasbench_snas.reports.draw.cell import draw_frequencies, save_figure

    if kinds == ["dot"]:
        raise click.UsageError("--frequency is drawn as svg, pdf or png.")
    for kind in kinds:
        if kind != "dot":
            path = out / f"frequency.{kind}"
            save_figure(draw_frequencies(genotypes, min_frequency=least), path, dpi=dpi)
            click.echo(f"{path}  ({len(genotypes)} genotypes)")


def _draw_evolution(
    session: Any, target: str, out: Path, kinds: list[str], still: bool, moving: bool, dpi: int
) -> None:
    from nasbench_snas.errors import DataError
    from nasbench_snas.evaluate.genotypes import PROBABILITIES_FILE, find_run, run_space

    folder = find_run(target, session.root)
    space = run_space(session.registry(), folder) if folder else None
    file = folder / PROBABILITIES_FILE if folder else Path(PROBABILITIES_FILE)
    if folder is None or space is None or not file.is_file():
        raise DataError(
            f"{target!r} is not a run with {PROBABILITIES_FILE} and config.toml.",
            "The evolution of a distribution is kept by runs only.",
        )
    import numpy as np

    from nasbench_snas.outside import file_name
    from nasbench_snas.reports.draw.cell import save_figure
    from nasbench_snas.reports.draw.evolution import (
        animate_evolution,
        by_operation,
        draw_evolution,
    )

    with np.load(file, allow_pickle=False) as data:
        probs = data["probs"]
    names, operations = space.edge_names, space.operations
    probs = by_operation(probs, space.candidates, operations)
    stem = file_name(folder.resolve().name, "run")
    for kind in kinds if still else []:
        if kind != "dot":
            path = out / f"{stem}-evolution.{kind}"
            save_figure(draw_evolution(probs, names, operations), path, dpi=dpi)
            click.echo(str(path))
    if moving:
        path = out / f"{stem}-evolution.gif"
        animate_evolution(probs, names, operations, path)
        click.echo(str(path))
