"""One run folder as rows of the table of results: its settings, provenance, result and status.

Imports no torch.
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasbench_snas.errors import CheckpointError, DataError, NasbenchError
from nasbench_snas.runs.binding import plain, without_seed
from nasbench_snas.runs.folder import RunFolder, read_object
from nasbench_snas.runs.index import index_row
from nasbench_snas.runs.schema import COLUMNS, NOT_RECORDED, TYPES, Row, migrate

if TYPE_CHECKING:
    from nasbench_snas.settings.run import RunConfig

_STAGES = {"search": ("search",), "retrain": ("retrain", "transfer")}
_BYTES = {"float32": 4, "bf16": 2, "float64": 8}


class RowLoader:
    """Reads folders; settings that many runs share are parsed once."""

    def __init__(self) -> None:
        self._settings: dict[str, Row] = {}
        self._sources: dict[str, str] | None = None

    def rows(self, stage: str, folder: RunFolder) -> list[Row]:
        """Return the rows of one folder; a damaged one gives a row that says so."""
        try:
            if stage == "gradients":
                return [complete_row(study) for study in _study_rows(folder)]
            return [complete_row(self._run(stage, folder))]
        except (
            NasbenchError,
            OSError,
            LookupError,
            AttributeError,
            ArithmeticError,
            RecursionError,
            TypeError,
            ValueError,
        ) as error:
            what = error.what if isinstance(error, NasbenchError) else f"cannot be read: {error!r}"
            what = what.encode(errors="replace").decode()
            damaged = {"run_id": folder.run_id, "stage": stage, "folder": str(folder.path)}
            return [complete_row({**damaged, "status": "damaged", "reason": what})]

    def _run(self, stage: str, folder: RunFolder) -> Row:
        result = folder.result()
        row: Row = {"stage": stage, **self._from_config(stage, folder), "run_id": folder.run_id}
        status = folder.status() if result else index_row(folder)
        if status.get("status") == "damaged":
            raise CheckpointError(status["note"])
        row["status"] = status.get("status", "queued")
        if not isinstance(row["status"], str):
            raise CheckpointError(f"{folder.path / 'status.json'}: status {row['status']!r}.")
        row["reason"] = status.get("reason", "") or status.get("note", "")
        row["epochs_done"] = status.get("epochs_done")
        row |= _environment(folder)
        if result is not None:
            row |= {k: v for k, v in migrate(result).items() if v is not None or k not in row}
            row |= _derived(row)
            if row["stage"] not in _STAGES[stage]:
                raise CheckpointError(f"{folder.path / 'result.json'}: stage {row['stage']!r}.")
            tabular = folder.path / "tabular.json"
            row |= read_object(tabular) if tabular.exists() else {}
        row["truncated"] = bool(row.get("truncated")) or row["status"] == "truncated"
        row["stale_source"] = self._is_stale(row)
        row["folder"] = str(folder.path)
        return row

    def _from_config(self, stage: str, folder: RunFolder) -> Row:
        """Return what ``config.toml`` says about a run; each variant is parsed once."""
        try:
            text = plain(folder.config_file).read_text(encoding="utf-8")
        except OSError as error:
            raise CheckpointError(f"cannot read {folder.config_file}: {error}") from error
        if stage == "retrain":
            return _retraining_columns(text)
        bare, seed = without_seed(text)
        if bare not in self._settings:
            self._settings[bare] = setting_columns(bare)
        return self._settings[bare] | seed

    def _is_stale(self, row: Row) -> bool | None:
        """Whether the estimator's source has changed since the run; None if that is unknown."""
        recorded = row.get("estimator_source")
        if not recorded:
            return None
        if self._sources is None:
            self._sources = _installed_sources()
        installed = self._sources.get(str(row.get("estimator")))
        return None if installed is None else installed != recorded


def complete_row(values: Mapping[str, Any]) -> Row:
    """Return exactly the documented columns, each of its documented type.

    Raises:
        DataError: A value is of another type, so that the file is damaged.
    """
    return {name: _typed(name, values.get(name)) for name in COLUMNS}


def _typed(name: str, value: Any) -> Any:
    """Return a value of a column: containers as JSON text, what is not finite as None."""
    kind = TYPES.get(name, "float64")
    if value is None:
        return None
    if kind != "object" and isinstance(value, float) and not math.isfinite(value):
        return None
    if kind == "object" and not isinstance(value, float):
        text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
            raise DataError(f"{name} holds half a character.", "Expected Unicode text.")
        return text
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "boolean" and isinstance(value, bool):
        return value
    if kind == "float64" and number:
        return float(value)
    if kind == "Int64" and number and float(value).is_integer():
        return int(value)
    raise DataError(f"{name} is {value!r}.", f"Expected a value of type {kind}.")


def setting_columns(text: str) -> Row:
    """Return the columns that the text of a search's ``config.toml`` gives."""
    from nasbench_snas.settings.run import from_toml

    try:
        config = from_toml(text)
    except NasbenchError:
        return {}  # settings of another release: the result still speaks for itself
    return {
        "estimator": config.estimator.name,
        "estimator_params": config.estimator.parameters,
        "space": config.space.name,
        "space_params": config.space.parameters,
        "dataset": config.data.dataset,
        "images": config.data.content or NOT_RECORDED,
        "protocol": config.data.protocol,
        "constraint": config.constraint,
        "preset": config.preset,
        "seed": config.seed,
        "level": config.search.level,
        "theta_policy": config.search.theta_policy,
        "purpose": config.purpose,
        "settings_from": config.settings_from or None,
        "alpha_settings": config.search.alpha.model_dump(mode="json"),
        "epochs_planned": config.search.epochs,
        "comparison": config.comparison(),
        "setting": _setting(config),
        "unconstrained_setting": _setting(config, with_constraint=False),
    }


def _retraining_columns(text: str) -> Row:
    from nasbench_snas.settings.retrain import retraining_from_toml

    try:
        config = retraining_from_toml(text)
    except NasbenchError:
        return {}
    return {
        "name": config.name,
        "parent_id": config.parent or None,
        "stage": config.stage,
        "preset": config.preset,
        "retrain_seed": config.seed,
        "dataset": config.data.dataset,
        "images": config.data.content or NOT_RECORDED,
        "genotype": config.genotype,
        "selection": config.selection,
        "epochs_planned": config.training.epochs,
        "setting": config.setting(),
    }


def _setting(config: RunConfig, *, with_constraint: bool = True) -> str:
    """Return the hash of what the rows of one table share."""
    from nasbench_snas.settings.run import digest_of_identity

    values = config.identity(0)
    if not with_constraint:
        values = {k: v for k, v in values.items() if k not in ("cost", "constraint")}
    for key in ("estimator", "estimator_version", "seed"):
        values.pop(key, None)
    for key in ("alpha", "level", "unrolled_hessian"):
        values["search"].pop(key, None)
    return digest_of_identity(values)


def _environment(folder: RunFolder) -> Row:
    """Return the provenance columns of the last start."""
    starts = folder.starts()
    if not starts:
        return {}
    last = starts[-1]
    versions, git, cuda = (last.get(k) or {} for k in ("versions", "git", "cuda"))
    return {
        "torch": versions.get("torch"),
        "cuda": cuda.get("version") if cuda.get("available") else None,
        "git_sha": git.get("sha"),
        "dirty": git.get("dirty"),
        "host_id": last.get("host_id"),
        "device_name": last.get("device_name"),
        "deterministic": (last.get("flags") or {}).get("deterministic"),
        "started": starts[0].get("started"),
        "suite_version": versions.get("nasbench_snas"),
        "estimator_source": last.get("estimator_source"),
        "command": _command([str(part) for part in last.get("command", ())]),
    }


def _command(words: list[str]) -> str:
    """Return a recorded command as one can give it; ``python -m nasbench_snas`` is ``nasbench``."""
    if words and Path(words[0]).name == "__main__.py":
        words = ["nasbench", *words[1:]]
    return shlex.join(words)


def _derived(row: Row) -> Row:
    """Return columns that are computed once, here: bytes moved, errors from accuracies."""
    derived: Row = {}
    if row.get("mac_bytes") is None and row.get("mac_elements") is not None:
        size = _BYTES.get(str(row.get("precision")), 4)
        derived["mac_bytes"] = size * float(row["mac_elements"])
    for rank in ("top1", "top5"):
        accuracy = row.get(f"test_acc_{rank}")
        if row.get(f"test_err_{rank}") is None and accuracy is not None:
            derived[f"test_err_{rank}"] = 100.0 - float(accuracy)
    return derived


def _installed_sources() -> dict[str, str]:
    """Return the digest of the source of every installed estimator (nothing is imported)."""
    from nasbench_snas.registry import Registry
    from nasbench_snas.runs.plugins import source_digest

    found = {entry.name: source_digest(entry) for entry in Registry().estimators()}
    return {name: digest for name, digest in found.items() if digest is not None}


def _study_rows(folder: RunFolder) -> Iterator[Row]:
    """Yield one row for each estimator, point and set of coordinates of a gradient study."""
    result = read_object(folder.path / "result.json")
    settings, status = result.get("settings") or {}, folder.status()
    shared: Row = {
        "stage": "gradients",
        "run_id": folder.run_id,
        "folder": str(folder.path),
        "schema_version": result.get("schema_version", 0),
        "status": status.get("status", "done"),
        "reason": status.get("reason", ""),
        "truncated": bool(result.get("truncated")),
        "space": (settings.get("space") or {}).get("name"),
        "dataset": (settings.get("data") or {}).get("dataset"),
        "images": (settings.get("data") or {}).get("content") or NOT_RECORDED,
        "seed": settings.get("seed"),
        "setting": folder.run_id.rpartition("-")[2],
        **_environment(folder),
    }
    for row in result.get("rows", ()):
        square = {end: row.get(f"bias_sq_ci_{end}") for end in ("lo", "hi")}
        roots = {
            f"bias_ci_{end}": None if value is None else math.sqrt(max(float(value), 0.0))
            for end, value in square.items()
        }
        yield {**roots, **row, **shared}
