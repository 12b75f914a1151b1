"""The study: every estimator variant at every point against the exact gradient.

Draws are made in rounds, each twice as long as the one before, over all cells of a point; a cell
stops when its standard error is reached, the study when its draws are made or its time is up (each
point has an equal share). Everything is stored block by block under
``<root>/_gradients/<space>-<hash>/``; the same command continues a study that was stopped.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nasbench_snas.compute.modes import own_modes
from nasbench_snas.errors import ConfigError
from nasbench_snas.kernels.cpu import build
from nasbench_snas.registry import Kind, Registry
from nasbench_snas.runs.folder import RunFolder, read_json, write_atomic, write_json
from nasbench_snas.runs.plugins import check_plugins, own_operations, used_plugins
from nasbench_snas.runs.provenance import environment
from nasbench_snas.seeding import stream
from nasbench_snas.settings.sources import bound
from nasbench_snas.settings.toml import to_toml
from nasbench_snas.stats.subspace import coordinate_groups
from nasbench_snas.study.cells import Cell
from nasbench_snas.study.claims import measure_claims
from nasbench_snas.study.points import (
    Batches,
    Point,
    distribution_at,
    load_batches,
    study_points,
)
from nasbench_snas.study.results import assemble, cell_row, merge_samples
from nasbench_snas.study.settings import StudySettings
from nasbench_snas.study.site import Site
from nasbench_snas.study.variants import Variant, variants

Report = Callable[[dict[str, Any]], None]
_FINISHED = 1e-9


def study_folder(settings: StudySettings, root: Path) -> RunFolder:
    """Return the folder of the study."""
    return RunFolder(root / "_gradients" / f"{settings.space.name}-{settings.digest()}")


def run_study(
    settings: StudySettings, registry: Registry, root: Path, report: Report = lambda event: None
) -> dict[str, Any]:
    """Run (or continue) a study to its end and return its result.

    Args:
        settings: What is measured.
        registry: Where estimators and the space come from.
        root: Folder of the runs.
        report: Called with progress events.

    Raises:
        CheckpointError: The folder is in use or damaged.
        ConfigError: There is nothing to measure.
    """
    folder = study_folder(settings, root)
    with folder.locked():
        write_atomic(folder.config_file, to_toml(settings, {}))
        record = environment("cpu")
        record["git"].pop("diff", None)
        if (folder.path / "cells").exists():
            check_plugins(folder, registry, built_in=True)
        names = sorted({variant.name for variant in variants(settings, registry)[0]})
        used: list[tuple[Kind, str]] = [
            ("space", settings.space.name),
            ("dataset", settings.data.dataset),
            *(("estimator", name) for name in names),
            *(("operation", name) for name in own_operations(registry, settings.space)),
        ]
        record["plugins"] = used_plugins(registry, used)
        folder.add_environment(record)
        folder.set_status("running")
        study = Study(settings, registry, root, folder, report)
        try:
            result = study.run()
        except (KeyboardInterrupt, SystemExit):
            folder.set_status("interrupted", "stopped; the same command continues", exit_code=130)
            raise
        except Exception as error:
            folder.set_status("failed", f"{type(error).__name__}: {error}", exit_code=1)
            raise
        folder.write_result(result, "truncated" if result["truncated"] else "done")
    return result


class Study:
    """A study in progress; use :func:`run_study`."""

    @own_modes()
    def __init__(
        self,
        settings: StudySettings,
        registry: Registry,
        root: Path,
        folder: RunFolder,
        report: Report,
    ) -> None:
        self.settings, self.registry, self.root = settings, registry, root
        self.folder, self.report = folder, report
        self.variants, self.skipped = variants(settings, registry)
        self.truncated = False
        self.compiled = self._network() == "compiled"
        self.sites: list[dict[str, Any]] = []
        self.cells: list[dict[str, Any]] = []
        self.files: list[Path] = []

    @own_modes()
    def run(self) -> dict[str, Any]:
        """Measure all points and return the result."""
        start, settings = time.monotonic(), self.settings
        data = bound(settings.data, self.registry)
        batches = load_batches(settings.model_copy(update={"data": data}))
        named = [p for p in settings.points if p]
        total = max(1, len(named) * len(settings.trajectories))
        claims: list[dict[str, Any]] = []
        for index, point in enumerate(study_points(settings, self.registry, batches, self.root)):
            share = settings.max_time * (index + 1) / total
            deadline = start + share if settings.max_time else math.inf
            site = self._site(point, batches)
            self._measure(site, deadline)
            if settings.claims:
                claims.append(self._claims(site))
        result = assemble(settings, self.sites, self.cells, self.skipped, claims)
        result["study"] = self.folder.run_id
        result["truncated"] = self.truncated
        result["seconds"] = time.monotonic() - start
        (self.folder.path / "result.json").unlink(missing_ok=True)  # it is bound to the samples
        merge_samples(self.folder.path / "samples.npz", self.files)
        return result

    def _network(self) -> str:
        """Return what evaluates the network, ``compiled`` or ``plain``.

        A study that is continued keeps it: the two agree to rounding errors, not bit for bit.
        """
        file = self.folder.path / "network.json"
        if file.exists():
            return str(read_json(file)["network"])
        network = "compiled" if build.is_built() else "plain"
        if network == "plain":
            build.build_in_background()
        write_json(file, {"network": network})
        return network

    def _site(self, point: Point, batches: Batches) -> Site:
        self.report({"kind": "point", "point": point.name})
        file = self.folder.path / "points" / f"{slug(point.name)}.npz"
        site = Site(self.settings, point, batches, file, self.compiled)
        self.sites.append(site.describe())
        return site

    def _claims(self, site: Site) -> dict[str, Any]:
        file = self.folder.path / "claims" / f"{slug(site.point.name)}.json"
        if file.exists():
            return dict(read_json(file))
        self.report({"kind": "claims", "point": site.point.name})
        claims = measure_claims(site, self.settings)
        write_json(file, claims)
        return claims

    def _measure(self, site: Site, deadline: float) -> None:
        """Draw every cell of a point until all are done or the time is up."""
        cells = [c for v in self.variants if (c := self._cell(site, v)) is not None]
        settings, size = self.settings, self.settings.replicates
        last = max(2, -(-settings.samples // size))
        target = max(2, -(-128 // size))
        while True:
            open_cells = [c for c in cells if not self._done(c, min(target, last))]
            for cell in open_cells:
                if self._late(deadline):
                    break
                self._draw(site, cell, min(target, last))
            if self._late(deadline) or target >= last:
                break
            target *= 2
        for cell in cells:
            if cell.moments.n < 2 * cell.moments.n_blocks:
                continue
            self._once(site, cell, deadline)
            self.cells.append(cell_row(cell, self.settings))
            self.files.append(cell.file)

    def _late(self, deadline: float) -> bool:
        late = time.monotonic() > deadline
        self.truncated |= late
        return late

    def _done(self, cell: Cell, passes: int) -> bool:
        if cell.passes >= passes:
            return True
        enough = cell.moments.n >= 2 * cell.moments.n_blocks
        return enough and cell.relative_error <= max(self.settings.until_se, _FINISHED)

    def _cell(self, site: Site, variant: Variant) -> Cell | None:
        """Return the cell of a variant at a point, or None where it cannot be measured."""
        settings, point = self.settings, site.point
        file = self.folder.path / "cells" / slug(point.name) / f"{slug(variant.label)}.npz"
        try:
            estimator = variant.create(self.registry)
            generator = stream(settings.seed, f"{point.name}/distribution")
            dist = distribution_at(estimator, point.parent.space, point.probs, generator)
            estimator.double()
        except ConfigError as error:
            self.skipped[variant.label] = error.what
            return None
        groups = {}
        if sum(p.numel() for p in dist.parameters()) == point.probs.numel():
            groups = coordinate_groups(*point.probs.shape)
        reference = site.reference(dist)
        cell = Cell(variant, estimator, dist, reference, groups, file, settings.seed, point.name)
        everything, twice = estimator.needs_all_operations, estimator.needs_double_backward
        cell.warm_up(site.fast_loss(everything, twice))
        return cell

    def _draw(self, site: Site, cell: Cell, passes: int) -> None:
        loss = site.fast_loss(cell.estimator.needs_all_operations)
        while cell.passes < passes:
            cell.draw(loss, self.settings.replicates)
        cell.save()
        self.report(
            {
                "kind": "cell",
                "point": cell.point,
                "estimator": cell.variant.label,
                "draws": cell.moments.n,
                "error": cell.relative_error,
            }
        )

    def _once(self, site: Site, cell: Cell, deadline: float) -> None:
        """Measure cost, theta-gradient and decomposition, each once."""
        everything = cell.estimator.needs_all_operations
        before = set(cell.extra)
        if "cost" not in cell.extra:
            cell.measure(site.loss(everything))
        wants_theta = self.settings.theta_samples and cell.estimator.has_theta_gradient
        if wants_theta and "theta" not in cell.extra and not self._late(deadline):
            cell.draw_theta(site.loss(everything), site.theta_reference(cell.dist), self.settings)
        wants_parts = self.settings.batches and "decomposition" not in cell.extra
        if wants_parts and not self._late(deadline):
            cell.decompose(site.other_batches(everything), self.settings)
        if set(cell.extra) != before:
            cell.save()
            self.report({"kind": "once", "point": cell.point, "estimator": cell.variant.label})


def slug(text: str) -> str:
    """Return ``text`` as a file name."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower().replace("λ", "tau")).strip("-")
