"""What images a run sees, as one short text that is part of the run's identity.

A fingerprint is a blake2b digest of the contents of a part: for a tree of image files the bytes of
every file with its name, class number and class names; for the other data sets the pixels and
labels (CIFAR: the checksums that its reader insists on). Paths and times do not enter it, so that a
copy of a tree has the fingerprint of the tree.

Every file is read once: its digest is remembered with its inode, size and times of change (to the
nanosecond; the inode's own time cannot be set back, as ``rsync -a`` and ``tar`` set back the
other). Above `LARGE_BYTES` a user may choose ``data.fingerprint = "listing"``: names, sizes and
times instead of contents, weaker, and said wherever the run is shown.
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
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from nasbench_snas.data.settings import DataSettings, FakeSettings, Part
from nasbench_snas.errors import DataError

if TYPE_CHECKING:
    from nasbench_snas.data.imagefolder import Listing

LARGE_BYTES = 10 * 10**9
"""Bytes of image files above which reading all of them once is announced."""
_SETTLED_NS = 2 * 10**9
"""Nanoseconds after which a file's times tell a later change apart from the one before."""
_LOG = logging.getLogger("nasbench_snas")

State = list[int | str]


def with_content(settings: DataSettings, parts: Sequence[Part]) -> DataSettings:
    """Return `settings` with the fingerprint of the images in `parts` filled in.

    A run can be planned where its tree of images is not; it has no fingerprint then, and cannot
    start there.

    Raises:
        DataError: An image cannot be read.
    """
    if settings.dataset == "imagefolder" and not _is_there(settings, parts):
        return settings.model_copy(update={"content": None})
    found = ",".join(f"{part}:{part_digest(settings, part)}" for part in parts)
    weak = "listing " if settings.fingerprint == "listing" else ""
    return settings.model_copy(update={"content": weak + found})


def _is_there(settings: DataSettings, parts: Sequence[Part]) -> bool:
    from nasbench_snas.data.imagefolder import part_folder

    try:
        return all(part_folder(settings.data_root, part).is_dir() for part in parts)
    except DataError:
        return False


def check(settings: DataSettings, part: Part) -> None:
    """Compare the images of one part with the fingerprint in `settings`, if it has one.

    Raises:
        DataError: They are other images.
    """
    if settings.content is None:
        return
    pairs = (entry.split(":") for entry in settings.content.removeprefix("listing ").split(","))
    expected = {name: digest for name, digest in pairs}.get(part)
    if expected is None or (found := part_digest(settings, part)) == expected:
        return
    raise DataError(
        f"the {part} images of {settings.dataset!r} in {settings.data_root} are not the run's: "
        f"their fingerprint is {found}, expected {expected}",
        "files, labels or names have changed since the run was planned",
        "point data.root at the images it was begun with, or start a new run",
    )


def part_digest(settings: DataSettings, part: Part) -> str:
    """Return the fingerprint of one part, 16 hex digits.

    Raises:
        DataError: The images are missing or cannot be read.
    """
    if settings.dataset == "imagefolder":
        from nasbench_snas.data.imagefolder import list_part

        return listing_digest(settings, list_part(settings.data_root, part))
    if settings.dataset in ("cifar10", "cifar100"):
        from nasbench_snas.data.cifar import files

        sums = [[path.name, md5] for path, md5 in files(settings.dataset, settings.data_root)]
        return _hash(["cifar", part, sums])
    return _embedded(settings.dataset, settings.fake, part)


@lru_cache(maxsize=32)
def _embedded(dataset: str, fake: FakeSettings, part: Part) -> str:
    """Return the digest of pixels and labels of a data set that is computed, not read."""
    from nasbench_snas.data.registry import get_loader

    plain = DataSettings.model_validate({"dataset": dataset, "fake": fake.model_dump()})
    data = get_loader(dataset)(plain, part)
    content = hashlib.blake2b(digest_size=8)
    content.update(json.dumps([list(data.images.shape), data.class_names]).encode())
    content.update(data.images.contiguous().numpy().data)
    content.update(data.labels.contiguous().numpy().data)
    return content.hexdigest()


def listing_digest(settings: DataSettings, listing: Listing) -> str:
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
    return _hash([settings.fingerprint, listing.class_names, names, listing.labels, values])


def file_digests(settings: DataSettings, listing: Listing, names: Sequence[str]) -> list[str]:
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
    name = _hash([str(folder.resolve())])
    return settings.cache_folder / "fingerprints" / f"{name}.json"


def _read(store: Path) -> dict[str, State]:
    """Return the remembered states and digests; nothing if the file is damaged."""
    try:
        content = json.loads(store.read_text(encoding="utf-8"))
        files: dict[str, State] = content["files"]
        return files if content["sum"] == _hash(files) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _write(store: Path, files: dict[str, State]) -> None:
    """Remember digests; a folder that cannot be written costs time and nothing else."""
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", dir=store.parent, suffix=".tmp", delete=False, encoding="utf-8"
        ) as stream:
            json.dump({"sum": _hash(files), "files": files}, stream)
        os.replace(stream.name, store)
    except OSError as error:
        _LOG.warning("%s cannot be written (%s); going on without", store, error)


def _hash(values: object) -> str:
    text = json.dumps(values, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
