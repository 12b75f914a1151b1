"""Packed runs: the records of many run folders in one small file that a repository can hold.

A pack is a ``.tar.xz`` of run folders without checkpoints, logs and locks. It is the same bytes for
the same runs. What it holds are records: settings, events, results, environments, and the samples
of studies. Absolute paths in them are shortened to their last part; uncommitted changes of the
checkout are left out (their digest stays). A pack stands for a run store wherever results are read;
unpacked into a store, its finished runs are finished there. Imports no torch.
"""

from __future__ import annotations

import io
import json
import lzma
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from nasbench_snas.data.catalogue import default_cache_dir
from nasbench_snas.errors import ConfigError, DataError
from nasbench_snas.runs.binding import BOUND, digest_of
from nasbench_snas.runs.folder import (
    RETRAININGS,
    STUDIES,
    RunFolder,
    stored_runs,
    write_atomic,
)

SUFFIX = ".tar.xz"
RECORDS = (
    "config.toml",
    "status.json",
    "result.json",
    "events.jsonl",
    "env.json",
    "tabular.json",
    *BOUND,
)
"""Files of a run folder that a pack keeps."""
_PATHS = re.compile(rb'^((?:root|cache_dir) = )"(?:[^"]*[/\\])([^"/\\]+)"', re.MULTILINE)
_LARGEST = 256 * 2**20


def is_pack(path: Path) -> bool:
    """Return whether ``path`` names a pack."""
    return path.name.endswith(SUFFIX) and not path.is_dir()


def pack(root: Path, file: Path, names: Collection[str] = ()) -> int:
    """Write the runs of a store, or those named, to ``file`` and return how many they are.

    Args:
        root: The run store.
        file: Ends in ``.tar.xz``; replaced whole or not at all.
        names: Run ids; empty: all. Retrainings and studies are packed too.

    Raises:
        ConfigError: The file has another suffix, or a name is no run of the store.
        DataError: There is nothing to pack.
    """
    if not file.name.endswith(SUFFIX):
        raise ConfigError(f"{file} is no name of a pack.", fix=f"Use a name that ends in {SUFFIX}.")
    folders = [folder for _, folder in stored_runs(root)]
    unknown = set(names) - {folder.run_id for folder in folders}
    if unknown:
        raise ConfigError(
            f"no run called {', '.join(sorted(unknown))} in {root}.",
            fix="`nasbench ls runs` lists them; names are given in full.",
        )
    chosen = [folder.path for folder in folders if not names or folder.run_id in names]
    if not chosen:
        raise DataError(
            f"there are no runs in {root}.",
            fix="Make one with `nasbench run -e snas -s darts-cnn`, or pass --root.",
        )
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz", preset=9) as archive:
        for folder in chosen:
            for name in RECORDS:
                if (folder / name).is_file():
                    data = _bare(name, (folder / name).read_bytes())
                    entry = tarfile.TarInfo((folder / name).relative_to(root).as_posix())
                    entry.size, entry.mode = len(data), 0o644
                    archive.addfile(entry, io.BytesIO(data))
    write_atomic(file, buffer.getvalue())
    return len(chosen)


def unpack(file: Path, root: Path) -> tuple[int, int]:
    """Put the runs of a pack into a store; runs that are there with the same result stay.

    Returns:
        How many runs were written, and how many were there.

    Raises:
        DataError: The pack is damaged, or a run of the store has another result. Nothing is
            written then.
    """
    found: dict[PurePosixPath, dict[str, bytes]] = {}
    for path, data in _members(file):
        found.setdefault(path.parent, {})[path.name] = data
    fresh = []
    for folder, files in found.items():
        there = RunFolder(root / folder)
        if not there.config_file.is_file() and not (there.path / "result.json").is_file():
            fresh.append(folder)
        elif there.result() != _json(files.get("result.json")):
            raise DataError(
                f"{there.path} and the run of that name in {file} have different results.",
                "Nothing was unpacked.",
                "Unpack into another store with --root, or remove one of the two.",
            )
    for folder in fresh:
        for name in sorted(found[folder], key=lambda n: n == "status.json"):  # the status last
            write_atomic(root / folder / name, found[folder][name])
    return len(fresh), len(found) - len(fresh)


def store_of(path: Path) -> Path:
    """Return the run store that ``path`` stands for: itself, or where a pack has been unpacked.

    A pack is unpacked once, in the suite's cache, under the digest of its contents.
    """
    if not is_pack(path):
        return path
    try:
        digest = digest_of(path.read_bytes())
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}.") from error
    place = default_cache_dir() / "packs" / digest
    if not place.is_dir():
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=place.parent))
        try:
            unpack(path, temporary)
            os.replace(temporary, place)
        except OSError:
            if not place.is_dir():  # another process was not faster
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return place


def _bare(name: str, data: bytes) -> bytes:
    """Return a record without what belongs to one machine."""
    if name == "config.toml":
        return _PATHS.sub(rb'\1"\2"', data)
    if name == "env.json":
        starts = _json(data)
        for start in starts if isinstance(starts, list) else []:
            if not isinstance(start, dict):
                continue  # damaged: it is kept as it is, and said where it is read
            command = start.get("command")
            words = command if isinstance(command, list) else []
            start["command"] = [_last_part(str(word)) for word in words]
            if isinstance(start.get("git"), dict):
                start["git"].pop("diff", None)
        return _text(starts)
    if name == "tabular.json" and isinstance(values := _json(data), dict):
        return _text({**values, "table": _last_part(str(values.get("table", "")))})
    return data


def _text(value: Any) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()


def _last_part(word: str) -> str:
    head, equals, path = word.rpartition("=")
    text = path.strip("\"'")
    if not re.match(r"/|~|[A-Za-z]:[\\/]", text):
        return word
    return head + equals + re.split(r"[/\\]", text.rstrip("/"))[-1]


def _members(file: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Yield the records of a pack; anything else in it is an error."""
    total = 0
    try:
        with tarfile.open(file, mode="r:xz") as archive:
            for entry in archive:
                path = PurePosixPath(entry.name)
                total += entry.size
                known = path.name in RECORDS and 2 <= len(path.parts) <= 3
                plain = not path.is_absolute() and ".." not in path.parts and entry.isfile()
                place = len(path.parts) == 2 or path.parts[0] in (RETRAININGS, STUDIES)
                if not (known and plain and place) or total > _LARGEST:
                    raise _damaged(file, f"unexpected entry {entry.name[:80]!r}")
                content = archive.extractfile(entry)
                yield path, content.read() if content else b""
    except (OSError, EOFError, tarfile.TarError, lzma.LZMAError, ValueError) as error:
        raise _damaged(file, str(error)) from error


def _json(data: bytes | None) -> Any:
    try:
        return None if data is None else json.loads(data)
    except ValueError as error:
        raise DataError(f"a record is no JSON: {error}.") from error


def _damaged(file: Path, why: str) -> DataError:
    return DataError(
        f"{file} cannot be read as packed runs: {why}.",
        "A pack is made by `nasbench pack`.",
        "Make it again, or get another copy.",
    )
