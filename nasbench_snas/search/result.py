"""The contents of a search's ``result.json``: the result schema, and the child matrix."""

from __future__ import annotations

import json
import time
from typing import Any

from nasbench_snas import __version__
from nasbench_snas.architecture.genotype import Genotype
from nasbench_snas.runs.folder import SCHEMA_VERSION
from nasbench_snas.runs.provenance import device_name, git_state, host_id, versions
from nasbench_snas.runs.schema import NOT_RECORDED
from nasbench_snas.search.child import ChildAccuracy
from nasbench_snas.search.exactness import exactness
from nasbench_snas.search.search import Search
from nasbench_snas.search.selection import Selection
from nasbench_snas.supernet.skeleton import parameter_count


def search_result(
    search: Search,
    run_id: str,
    genotype: Genotype,
    events: list[dict[str, Any]],
    estimator_source: str,
    *,
    truncated: bool,
) -> dict[str, Any]:
    """Return the result of a finished (or truncated) search.

    Args:
        search: The search at its end.
        run_id: Name of the run.
        genotype: The derived architecture.
        events: The epoch events; the metrics are the last one's, or are measured now where the
            search has stopped elsewhere.
        estimator_source: Hash of the estimator's source file.
        truncated: Whether it stopped early on purpose.
    """
    config, estimator = search.config, search.estimator
    last = events[-1] if events else {}
    known = last.get("step") == search.step and "search_acc" in last
    if not known or (search.stops is not None and search.stops.went_back):
        last |= search.measure()
    matrix = search.child_matrix()
    child = _pick(matrix, search.derive_rule, "inherited")
    recalibrated = _pick(matrix, search.derive_rule, "recalibrated")
    hard = _pick(matrix, "hard", "inherited")
    search_acc = float(last["search_acc"])
    chosen = search.selected() if search.rule.uses_images else None
    seconds = search.elapsed + (chosen.seconds if chosen else 0.0)
    gpus = search.world.size if search.device.type == "cuda" else 0
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": run_id,
        "disconnected": list(genotype.disconnected),
        "parent_id": None,
        "stage": "search",
        "estimator": config.estimator.name,
        "estimator_version": estimator.version,
        "estimator_params": json.dumps(config.estimator.parameters, sort_keys=True),
        "estimator_source": estimator_source,
        "space": config.space.name,
        "space_params": json.dumps(config.space.parameters, sort_keys=True),
        "dataset": config.data.dataset,
        "images": config.data.content or NOT_RECORDED,
        "level": config.search.level,
        "theta_policy": config.search.theta_policy,
        "protocol": config.data.protocol,
        "protocol_note": search.splits.label,
        "split": search.splits.fingerprint,
        "constraint": config.constraint,
        "preset": config.preset,
        "seed": config.seed,
        "config_hash": config.digest(estimator.version),
        "comparison": config.comparison(),
        "truncated": truncated,
        "epochs_done": search.epoch,
        "epochs_planned": config.search.epochs,
        **({} if search.stops is None else search.stops.result()),
        "search_view": estimator.search_view,
        "derive_rule": search.derive_rule,
        "reporting_images": len(search.images.reporting),
        **_selection(chosen),
        "search_valid_acc": search_acc,
        "child_valid_acc": child.accuracy,
        "child_valid_acc_recalibrated": recalibrated.accuracy,
        "child_gap": search_acc - child.accuracy,
        "child_valid_acc_std_over_samples": hard.std,
        "n_child_samples": hard.samples,
        "child_matrix": [cell.as_dict() for cell in matrix],
        "genotype": genotype.to_dict(),
        "n_edges_kept": genotype.num_edges,
        "n_edges": search.space.num_edges,
        "n_nodes_dropped": sum(len(c.dropped_nodes) for c in genotype.cells.values()),
        "entropy": last["entropy"],
        **{key: last[key] for key in last if key.startswith("entropy_") and key[-1] != "s"},
        "max_prob_mean": last["max_prob"],
        "expected_cost": last["expected_cost"],
        "parent_params": parameter_count(search.parent),
        **search.resource.child_costs(search.derived()),
        "truth": _truth(search),
        "wall_s": seconds,
        "gpu_days": seconds * gpus / 86_400 if gpus else None,
        "peak_mem_bytes": search.peak_memory(),
        "steps": search.step,
        "imgs_per_s": last.get("images_per_s"),
        "kernels": search.note,
        "device_name": device_name(str(search.device)),
        "n_devices": search.world.size,
        "precision": "bf16" if config.search.amp == "bf16" else "float32",
        "host_id": host_id(),
        "finished": time.time(),
        "git_sha": git_state()["sha"],
        "versions": versions(),
        "suite_version": __version__,
    }


def _truth(search: Search) -> dict[str, Any] | None:
    """Return what the search is compared with, or None where nothing is known of its space."""
    if search.ranking is None:
        return None
    exact = {} if search.deadline.leaves_out() else exactness(search)
    return {**search.ranking.result(search.derived()), **exact}


def _selection(chosen: Selection | None) -> dict[str, Any]:
    """Return what a selection was made by and what it took; nothing without one."""
    if chosen is None:
        return {"n_candidates": 0, "selection_images": 0, "selection_steps": 0, "selection_s": 0.0}
    return {
        "n_candidates": chosen.candidates,
        "n_distinct_candidates": chosen.distinct,
        "selection_images": chosen.images,
        "selection_acc": chosen.accuracy,
        "selection_steps": chosen.steps,
        "selection_s": chosen.seconds,
    }


def _pick(matrix: list[ChildAccuracy], view: str, statistics: str) -> ChildAccuracy:
    return next(c for c in matrix if (c.view, c.statistics) == (view, statistics))
