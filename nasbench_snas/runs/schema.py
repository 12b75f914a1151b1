"""The result schema: columns by group, their types, and how older versions become today's.

A result without ``schema_version`` is of version 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nasbench_snas.errors import DataError
from nasbench_snas.runs.folder import SCHEMA_VERSION

Row = dict[str, Any]
NOT_RECORDED = "images not recorded"
"""In the place of a fingerprint: the run was made by a version that took none."""

SCHEMA: dict[str, tuple[str, ...]] = {
    "identity": tuple(
        "run_id parent_id stage estimator estimator_version estimator_params space dataset "
        "constraint preset seed retrain_seed config_hash schema_version".split()
    ),
    "status": tuple("status reason truncated epochs_done epochs_planned stale_source".split()),
    "accuracy": tuple(
        "search_valid_acc child_valid_acc child_gap child_valid_acc_std_over_samples "
        "n_child_samples test_err_top1 test_err_top5".split()
    ),
    "architecture": tuple(
        "genotype n_edges_kept n_nodes_dropped entropy_normal entropy_reduce max_prob_mean".split()
    ),
    "cost": tuple(
        "params macs mac_bytes expected_cost wall_s gpu_days peak_mem_bytes steps "
        "imgs_per_s".split()
    ),
    "gradient study": tuple(
        "point n_samples coord_set bias_l2 bias_se bias_ci_lo bias_ci_hi var_trace var_ci_lo "
        "var_ci_hi mse cos_to_ref ms_per_sample var_x_time".split()
    ),
    "provenance": tuple(
        "device_name n_devices precision deterministic torch cuda git_sha dirty host_id started "
        "finished".split()
    ),
    "further": tuple(
        "comparison setting unconstrained_setting level theta_policy alpha_settings images "
        "space_params split protocol protocol_note "
        "stopped_at stopped_by stop_reason architecture_epoch "
        "search_view derive_rule n_candidates n_distinct_candidates selection_images "
        "selection_acc selection_steps selection_s reporting_images "
        "child_valid_acc_recalibrated child_matrix n_edges entropy "
        "parent_params mac_elements child_cost criterion_cost kernels suite_version "
        "estimator_source name "
        "selection num_classes resolution changed_settings label "
        "bias_sq bias_sq_ci_lo bias_sq_ci_hi relative_bias_sq "
        "excluded_relative_bias forward_equivalents test_regret rank_correlation truth "
        "purpose settings_from command folder".split()
    ),
}
"""Columns by group. ``further``: what the report needs beyond the documented schema.

``setting`` is a hash of what the rows of one table share: all settings but estimator, seed,
architecture optimiser and optimisation level; ``unconstrained_setting`` leaves the resource
term out, too. ``genotype``, ``child_matrix``, ``space_params``,
``alpha_settings``, ``changed_settings`` (of a retraining: settings that are not its preset's) and
``estimator_params`` hold JSON text.
"""

COLUMNS: tuple[str, ...] = tuple(name for group in SCHEMA.values() for name in group)

TYPES: dict[str, str] = {
    **dict.fromkeys(
        "run_id parent_id stage estimator estimator_params space dataset constraint preset "
        "config_hash status reason genotype point coord_set device_name precision torch cuda "
        "git_sha host_id comparison setting unconstrained_setting level theta_policy "
        "alpha_settings images space_params split protocol "
        "protocol_note stopped_by stop_reason "
        "search_view derive_rule child_matrix kernels suite_version "
        "estimator_source name selection changed_settings label truth purpose "
        "settings_from command folder".split(),
        "object",
    ),
    **dict.fromkeys(
        "estimator_version seed retrain_seed schema_version epochs_done epochs_planned "
        "n_child_samples n_edges_kept n_nodes_dropped n_edges peak_mem_bytes steps n_samples "
        "n_devices parent_params num_classes resolution n_candidates n_distinct_candidates "
        "selection_images selection_steps reporting_images stopped_at "
        "architecture_epoch".split(),
        "Int64",
    ),
    **dict.fromkeys("truncated stale_source deterministic dirty".split(), "boolean"),
}


def _from_version_0(result: Row) -> Row:
    """Version 0: accuracies as fractions and other names, multiply-adds counted twice."""
    new = dict(result)
    for old, name in (("search_acc", "search_valid_acc"), ("child_acc", "child_valid_acc")):
        if old in new:
            new[name] = 100.0 * float(new.pop(old))
    if "search_valid_acc" in new and "child_valid_acc" in new:
        new.setdefault("child_gap", new["search_valid_acc"] - new["child_valid_acc"])
    if "flops" in new:
        new["macs"] = float(new.pop("flops")) / 2
    if "seconds" in new:
        new["wall_s"] = new.pop("seconds")
    new.setdefault("stage", "search")
    new.setdefault("truncated", False)
    return new


def _from_version_1(result: Row) -> Row:
    """Version 1: which images a run saw was not recorded."""
    return {**result, "images": NOT_RECORDED}


def _from_version_2(result: Row) -> Row:
    """Version 2: every search validation image measured; none was set apart to select by."""
    return {**result, "n_candidates": 0, "selection_images": 0, "selection_s": 0.0}


MIGRATIONS: dict[int, Callable[[Row], Row]] = {
    0: _from_version_0,
    1: _from_version_1,
    2: _from_version_2,
}
"""From each older schema version to the next one."""


def migrate(result: Mapping[str, Any]) -> Row:
    """Return a result in the schema of today; one without a version is of version 0.

    Raises:
        DataError: It is of a newer version than this suite knows.
    """
    current = dict(result)
    version = int(current.get("schema_version", 0))
    if version > SCHEMA_VERSION:
        raise DataError(
            f"schema version {version} is newer than {SCHEMA_VERSION}.",
            "The run was made with a newer release of nasbench-snas.",
            "pip install --upgrade nasbench-snas",
        )
    for step in range(version, SCHEMA_VERSION):
        current = MIGRATIONS[step](current)
    current["schema_version"] = SCHEMA_VERSION
    return current


def rule_in_words(result: Mapping[str, Any]) -> str:
    """Return how the child was derived: ``argmax``, or ``best of 100 on 143 images, 1.7 s``."""
    number = result.get("n_candidates")
    if not number:
        return str(result["derive_rule"])
    rule, images = result["derive_rule"], result["selection_images"]
    found = f"best of {number}" if rule == "best-of-N" else f"{rule}, {number} measured"
    steps = result.get("selection_steps")
    training = f", {steps} steps of training" if steps else ""
    return f"{found} on {images} images{training}, {result['selection_s']:.1f} s"
