"""Digests of image files: every file is read once, and remembered by what changes with it.

A digest is remembered with the file's inode, size and times of change (to the nanosecond; the
inode's own time cannot be set back, as ``rsync -a`` and ``tar`` set back the other).
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from nasbench_snas.data.settings import DataSettings
from nasbench_snas.errors import DataError

LARGE_BYTES = 10 * 10**9
"""Bytes of image files above which reading all of them once is announced."""
_SETTLED_NS = 2 * 10**9
"""Nanoseconds after which a file's times tell a later change apart from the one before."""
_LOG = logging.getLogger("nasbench_snas")

State = list[int | str]


class Listed(Protocol):
    """A listed tree of images."""

    @property
    def folder(self) -> Path:
        """The tree."""

    @property
    def files(self) -> Sequence[Path]:
        """Its images."""

    @property
    def labels(self) -> Sequence[int]:
        """Their class numbers."""

    @property
    def class_names(self) -> Sequence[str]:
        """Names of the classes."""


def listing_digest(settings: DataSettings, listing: Listed) -> str:
    """Return the fingerprint of a listed part of a tree, 16 hex digits.

    Raises:
        DataError: A file cannot be read.
    """
    names = [file.relative_to(listing.folder).as_posix() for file in listing.files]
    if settings.fingerprint == "listing":
        states = [file_state(file) for file in listing.files]
        values: list[object] = [state[1:3] for state in states]  # size, time: a copy may keep them
    else:
        values = list(file_digests(settings, listing, names))
    return digest_of([settings.fingerprint, listing.class_names, names, listing.labels, values])


def file_digests(settings: DataSettings, listing: Listed, names: Sequence[str]) -> list[str]:
    """Return the digest of every file's bytes, reading only files that changed since last time."""
    store = _store(settings, listing.folder)
    known, fresh = _read(store), {}
    states = [file_state(file) for file in listing.files]
    new = [
        position
        for position, (name, state) in enumerate(zip(names, states, strict=True))
        if known.get(name, [])[:-1] != state
    ]
    began = time.monotonic()
    size = sum(int(states[position][1]) for position in new)
    if size > LARGE_BYTES:
        _LOG.warning(
            "reading %.0f GB once for the fingerprint of %s; data.fingerprint = "
            '"listing" is the weaker choice that reads nothing',
            size / 1e9,
            listing.folder,
        )
    with ThreadPoolExecutor(max(1, settings.workers)) as pool:
        read = dict(zip(new, pool.map(lambda p: _file(listing.files[p]), new), strict=True))
    digests = [read.get(p) or str(known[name][-1]) for p, name in enumerate(names)]
    if new:
        _LOG.info(
            "fingerprint of %d files (%.1f MB) in %s: %.1f s",
            len(new),
            size / 1e6,
            listing.folder,
            time.monotonic() - began,
        )
        now = time.time_ns()
        for name, state, digest in zip(names, states, digests, strict=True):
            if now - max(int(state[2]), int(state[3])) > _SETTLED_NS:
                fresh[name] = [*state, digest]
        if fresh:
            _write(store, fresh)
    return digests


def file_state(file: Path) -> State:
    """Return inode, size, time of change and time of the inode's change (both nanoseconds).

    Raises:
        DataError: There is no such file.
    """
    try:
        found = file.stat()
    except OSError as error:
        raise _unreadable(file, error) from error
    return [found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def _file(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(
        f"imagefolder: {path} cannot be read: {error.strerror or error}",
        "expected an image file (a link may lead nowhere)",
        "replace or remove it",
    )


def _store(settings: DataSettings, folder: Path) -> Path:
    name = digest_of([str(folder.resolve())])
    return settings.cache_folder / "fingerprints" / f"{name}.json"


def _read(store: Path) -> dict[str, State]:
    """Return the remembered states and digests; nothing if the file is damaged."""
    try:
        content = json.loads(store.read_text(encoding="utf-8"))
        files: dict[str, State] = content["files"]
        return files if content["sum"] == digest_of(files) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _write(store: Path, files: dict[str, State]) -> None:
    """Remember digests; a folder that cannot be written costs time and nothing else."""
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", dir=store.parent, suffix=".tmp", delete=False, encoding="utf-8"
        ) as stream:
            json.dump({"sum": digest_of(files), "files": files}, stream)
        os.replace(stream.name, store)
    except OSError as error:
        _LOG.warning("%s cannot be written (%s); going on without", store, error)


def digest_of(values: object) -> str:
    """Return the digest of plain values, 16 hex digits."""
    text = json.dumps(values, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
