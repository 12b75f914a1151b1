"""What binds the parts of a run to each other, so that an edited or lost part is seen.

The folder's name ends with the hash of the settings in ``config.toml``. A checkpoint knows that
hash and a digest of the events before it; ``result.json`` knows both and a digest of every file
that reports read (``bound``); ``status.json`` knows the digest of ``result.json``. Of runs that
recorded no digests, what can be compared is. Imports no torch.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from nasbench_snas.errors import CheckpointError, ConfigError
from nasbench_snas.outside import would_wait

BOUND = ("genotype.json", "alpha.npz", "samples.npz")
"""Files that are bound as they are, beside settings and events."""
_OUTSIDE = ("#", "root =", "cache_dir =", "workers =", "checkpoint_seconds =")
ESTIMATOR_VERSIONS = range(1, 65)
"""Versions of an estimator that the hash of a search's settings may be of."""
_NAMED = re.compile(r"-[sr]\d+-([0-9a-f]{8})$")


def plain(path: Path) -> Path:
    """Return ``path``.

    Raises:
        CheckpointError: It is a pipe, a socket or a device, which a reader could wait for for ever.
    """
    if would_wait(path):
        raise CheckpointError(
            f"{path} is no plain file.",
            "A run folder holds plain files; this one could be waited for for ever.",
            "Restore the file, or delete the folder.",
        )
    return path


def check_plain(folder: Path) -> None:
    """Raise :class:`CheckpointError` if a file of a run is no plain file; see :func:`plain`."""
    for place in (folder, folder / "checkpoints"):
        if place.is_dir():
            for path in place.iterdir():
                plain(path)


def digest_of(content: bytes) -> str:
    """Return the digest that binds a file: 16 hex digits of BLAKE2b."""
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def named_hash(run_id: str) -> str:
    """Return the hash of the settings that a folder's name ends with; "" if it has none."""
    found = _NAMED.search(run_id)
    return found.group(1) if found else ""


def bare_settings(text: str) -> bytes:
    """Return a ``config.toml`` without sources, paths and what else decides no result."""
    lines = (line.rsplit("  # ", 1)[0] for line in text.splitlines())
    return "\n".join(line for line in lines if not line.startswith(_OUTSIDE)).encode()


def is_retraining(text: str) -> bool:
    """Whether the text of a ``config.toml`` is that of a retraining (rather than a search)."""
    return any(line.startswith("[network]") for line in text.splitlines())


def binding(path: Path) -> dict[str, Any]:
    """Return the digests of the parts of the run in ``path``, to be kept in its result."""
    events = path / "events.jsonl"
    log = events.read_bytes() if events.is_file() else b""
    files = {name: path / name for name in BOUND}
    return {
        "config.toml": digest_of(bare_settings((path / "config.toml").read_text("utf-8"))),
        "events.jsonl": {"size": len(log), "digest": digest_of(log)},
        **{name: digest_of(f.read_bytes()) for name, f in files.items() if f.is_file()},
    }


def broken_events(file: Path, size: int, digest: str | None) -> str:
    """Return why an event log is not the one that was recorded; "" if it is.

    Args:
        file: The log; what it holds beyond ``size`` is not looked at.
        size: Bytes that were recorded.
        digest: Digest of these bytes; None: not recorded, so that every line must be an event.
    """
    try:
        log = file.read_bytes()[:size]
    except FileNotFoundError:
        log = b""
    except OSError as error:
        return f"events.jsonl cannot be read: {error.strerror or error}"
    if len(log) < size:
        return f"events.jsonl has {len(log)} bytes where {size} were recorded"
    if digest is not None:
        changed = digest_of(log) != digest
        return "events.jsonl is not what the run wrote: it was edited or damaged" if changed else ""
    for number, line in enumerate(log.splitlines(), start=1):
        if not _is_event(line):
            return f"events.jsonl, line {number}: no event"
    return ""


def _is_event(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def broken_settings(path: Path, *, config_hash: str = "", version: int | None = None) -> str:
    """Return why ``config.toml`` does not hold the settings that a run bears in its name.

    Args:
        path: The folder.
        config_hash: A further hash of them, such as the result's.
        version: The estimator's version; None: any.
    """
    try:
        text = (path / "config.toml").read_text(encoding="utf-8")
        tables = _tables(without_seed(text)[0])
    except (OSError, ValueError, RecursionError) as error:
        return f"config.toml cannot be read: {error}"
    if not tables:
        return "config.toml is empty"
    wanted = {named_hash(path.name), config_hash} - {""}
    if len(wanted) > 1:
        return f"the folder's name ends with {named_hash(path.name)}, its result with {config_hash}"
    try:
        fits = not wanted or _fits(text, next(iter(wanted)), version)
    except ConfigError:
        known = {"estimator", "space", "genotype"} & tables
        return "" if known else "config.toml holds no settings of a run"  # of another release
    if fits:
        return ""
    return (
        f"config.toml does not have the hash {next(iter(wanted))} that the run bears: it was "
        "edited, or belongs to another run"
    )


def _fits(text: str, wanted: str, version: int | None) -> bool:
    if is_retraining(text):
        from nasbench_snas.settings.retrain import retraining_from_toml

        return retraining_from_toml(text).digest() == wanted
    from nasbench_snas.settings.run import digest_of_identity

    bare, own = without_seed(text)
    versions = ESTIMATOR_VERSIONS if version is None else (version,)
    return any(digest_of_identity(_identity(bare, n) | own) == wanted for n in versions)


_SEED = re.compile(r"^seed = (\d{1,15})\b", re.MULTILINE)  # the first is that of the run


def without_seed(text: str) -> tuple[str, dict[str, int]]:
    """Return settings with seed 0, and the seed: runs that differ in it share what is parsed."""
    seed = _SEED.search(text)
    if seed is None:
        return text, {}
    return f"{text[: seed.start()]}seed = 0{text[seed.end() :]}", {"seed": int(seed[1])}


@lru_cache(maxsize=512)
def _tables(text: str) -> frozenset[str]:
    """Return the names at the top of a text in TOML; raises as :func:`tomllib.loads`."""
    return frozenset(tomllib.loads(text))


@lru_cache(maxsize=512)
def _identity(text: str, version: int) -> dict[str, Any]:
    """Return what decides the result of settings; runs that differ in the seed share a parse."""
    from nasbench_snas.settings.run import from_toml

    return from_toml(text).identity(version)


def damage(path: Path, result: Mapping[str, Any] | None, status: Mapping[str, Any]) -> str:
    """Return which parts of a run do not belong together; "" if all do.

    Args:
        path: The folder of a search, a retraining or a study.
        result: Contents of ``result.json``, if it is there.
        status: Contents of ``status.json``.

    Raises:
        CheckpointError: A file is no plain file.
    """
    check_plain(path)
    is_study = path.parent.name == "_gradients"
    if result is None:
        return "" if is_study else broken_settings(path)
    recorded = status.get("result_digest")
    if recorded is not None and digest_of((path / "result.json").read_bytes()) != recorded:
        return "result.json is not what the run wrote: it was edited or damaged"
    bound = result.get("bound")
    if isinstance(bound, dict):
        return _broken_binding(path, result, bound)
    return "" if is_study else _broken_unrecorded(path, result)


def _broken_binding(path: Path, result: Mapping[str, Any], bound: Mapping[str, Any]) -> str:
    named, kept = named_hash(path.name), str(result.get("config_hash") or "")
    if named and kept and named != kept:
        return f"the folder's name ends with {named}, its result has the hash {kept}"
    try:
        if digest_of(bare_settings((path / "config.toml").read_text("utf-8"))) != bound.get(
            "config.toml"
        ):
            return "config.toml is not what the run was made with: it was edited or damaged"
        for name in BOUND:
            if name in bound and digest_of((path / name).read_bytes()) != bound[name]:
                return f"{name} is not what the run wrote: it was edited or damaged"
    except (OSError, ValueError) as error:
        return f"a part of the run cannot be read: {error}"
    log = bound.get("events.jsonl")
    if not isinstance(log, dict) or not isinstance(log.get("size"), int):
        return "result.json does not say which events belong to it"
    return broken_events(path / "events.jsonl", log["size"], str(log.get("digest")))


def _broken_unrecorded(path: Path, result: Mapping[str, Any]) -> str:
    """Return what is wrong in a run whose version recorded no digests."""
    version, hashed = result.get("estimator_version"), str(result.get("config_hash") or "")
    searched = result.get("stage", "search") == "search" and isinstance(version, int)
    if why := broken_settings(path, config_hash=hashed, version=version if searched else None):
        return why
    log, epochs = path / "events.jsonl", result.get("epochs_done")
    size = log.stat().st_size if log.is_file() else 0
    if why := broken_events(log, size, None):
        return why
    if result.get("taken_from") or not isinstance(epochs, int):
        return ""
    events = [json.loads(line) for line in log.read_bytes().splitlines()] if size else []
    numbers = [event.get("epoch") for event in events if event.get("kind") == "epoch"]
    if not all(isinstance(number, int) for number in numbers):
        return "events.jsonl has an epoch that is no number"
    last = max(numbers, default=0)
    return f"events.jsonl ends with epoch {last} of {epochs}" if last < epochs else ""
