"""Run folders: files that are written whole or not at all, an append-only event log, a lock.

``runs/<run id>/`` holds ``config.toml``, ``env.json``, ``events.jsonl``, ``status.json``,
``result.json``, ``genotype.json``, ``alpha.npz``, ``checkpoints/`` and ``run.log``.
``runs/index.jsonl`` is derived from the folders. Imports no torch.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import filelock

from nasbench_snas.errors import CheckpointError, UnknownRunError
from nasbench_snas.runs.binding import binding, damage, digest_of, plain
from nasbench_snas.runs.events import read_events
from nasbench_snas.runs.provenance import boot_id, host_id
from nasbench_snas.runs.temporaries import remove_dead, temporary_of

SCHEMA_VERSION = 3
RETRAININGS = "_retrain"
"""Folder of the retrainings below a run store."""
STUDIES = "_gradients"
"""Folder of the gradient studies below a run store."""
_LOOK_SECONDS = 0.5
"""How long a run waits for its lock: a listing holds it for a moment to see whether it is free."""
Status = Literal["queued", "running", "interrupted", "failed", "diverged", "truncated", "done"]


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write ``content`` to ``path`` so that a reader sees the old or the new file, never a part.

    Raises:
        CheckpointError: The disk is full or the folder cannot be written; the old file is
            untouched.
    """
    temporary = temporary_of(path)
    data = content.encode() if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> CheckpointError:
    return CheckpointError(
        f"cannot write {path}: {error.strerror or error}.",
        "What was there before is untouched.",
        "Free disk space or mend the permissions, then run the same command to continue.",
    )


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON, atomically; see :func:`write_atomic`."""
    write_atomic(path, _json_text(value))


def _json_text(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=False) + "\n"


def read_json(path: Path) -> Any:
    """Return the JSON value in ``path``; :class:`CheckpointError` if it is missing or damaged."""
    try:
        return json.loads(plain(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    except RecursionError:
        raise CheckpointError(f"cannot read {path}: it is nested too deeply.") from None


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in ``path``; :class:`CheckpointError` if it holds something else."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds {type(value).__name__}, not a JSON object.")
    return value


def read_objects(path: Path) -> list[dict[str, Any]]:
    """Return the JSON objects in the list in ``path``; :class:`CheckpointError` if it is none."""
    value = read_json(path)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise CheckpointError(f"{path} holds no list of JSON objects.")
    return value


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run.

    Attributes:
        path: Its path; the name is the run id.
    """

    path: Path

    @property
    def run_id(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def config_file(self) -> Path:
        """The resolved settings."""
        return self.path / "config.toml"

    @property
    def events_file(self) -> Path:
        """The event log."""
        return self.path / "events.jsonl"

    @property
    def checkpoint_file(self) -> Path:
        """The last checkpoint."""
        return self.path / "checkpoints" / "last.pt"

    def events(self) -> list[dict[str, Any]]:
        """Return all events, in order."""
        return list(read_events(self.events_file))

    def append_event(self, event: Mapping[str, Any], *, sync: bool = False) -> None:
        """Append one event; with ``sync`` it is on disk when this returns.

        Raises:
            CheckpointError: The disk is full.
        """
        try:
            with self.events_file.open("ab") as file:
                file.write(json.dumps(dict(event)).encode() + b"\n")
                file.flush()
                if sync:
                    os.fsync(file.fileno())
        except OSError as error:
            raise CheckpointError(
                f"cannot append to {self.events_file}: {error.strerror or error}.",
                fix="Free disk space, then run the same command to continue.",
            ) from error

    def events_size(self) -> int:
        """Return the length of the event log in bytes."""
        return self.events_file.stat().st_size if self.events_file.exists() else 0

    def events_digest(self) -> str:
        """Return the digest that binds the event log; see :mod:`nasbench_snas.runs.binding`."""
        return digest_of(self.events_file.read_bytes() if self.events_file.exists() else b"")

    def truncate_events(self, size: int) -> None:
        """Forget what was logged after a checkpoint; it is measured again, equally."""
        if self.events_size() > size:
            os.truncate(self.events_file, size)

    def forget(self) -> None:
        """Remove what an earlier start has measured; stopped at any moment, a new one begins."""
        self.checkpoint_file.unlink(missing_ok=True)
        self.truncate_events(0)

    def status(self) -> dict[str, Any]:
        """Return the contents of ``status.json``; ``{}`` if there is none."""
        file = self.path / "status.json"
        return read_object(file) if file.exists() else {}

    @property
    def ended_badly(self) -> bool:
        """Whether the status says failed or diverged."""
        return self.status().get("status") in ("failed", "diverged")

    def set_status(self, status: Status, reason: str = "", **more: Any) -> None:
        """Write ``status.json``."""
        content = {"status": status, "reason": reason, "updated": time.time(), **more}
        write_json(self.path / "status.json", content)

    def result(self) -> dict[str, Any] | None:
        """Return ``result.json``, or None if the run has not finished.

        Raises:
            CheckpointError: It is damaged, or other parts of the run do not belong to it.
        """
        return self.verify() if (self.path / "result.json").exists() else None

    def write_result(self, result: Mapping[str, Any], status: Status, reason: str = "") -> None:
        """Write ``result.json``, bound to the other parts of the run, and the last status."""
        text = _json_text({**result, "bound": binding(self.path)})
        last: dict[str, Any] = {
            "reason": reason,
            "exit_code": 0,
            "result_digest": digest_of(text.encode()),
        }
        if status != "done":
            self.set_status(status, **last)
        write_atomic(self.path / "result.json", text)
        if status == "done":
            self.set_status(status, **last)

    def verify(self) -> dict[str, Any] | None:
        """Return :meth:`result`; the parts of a run that has not finished are compared, too.

        Raises:
            CheckpointError: Parts of the run do not belong together.
        """
        file = self.path / "result.json"
        result = read_object(file) if file.exists() else None
        if why := damage(self.path, result, self.status()):
            raise CheckpointError(
                f"run {self.run_id} is damaged: {why}.",
                "Its parts do not belong together; nothing was changed.",
                "Restore the file from a copy, or move the folder away and make the run again.",
            )
        return result

    def verified(self) -> RunFolder:
        """Return the folder; raises as :meth:`verify`."""
        self.verify()
        return self

    def add_environment(self, record: Mapping[str, Any]) -> None:
        """Append the record of one (re)start to ``env.json``."""
        write_json(self.path / "env.json", [*self.starts(), dict(record)])

    def starts(self) -> list[dict[str, Any]]:
        """Return the records of all (re)starts in ``env.json``, the first one first."""
        file = self.path / "env.json"
        return read_objects(file) if file.exists() else []

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run's lock.

        Raises:
            CheckpointError: Another process holds it; the message says which.
        """
        lock = filelock.FileLock(self.path / "lock")
        holder = self.path / "lock.json"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=_LOOK_SECONDS)
        except filelock.Timeout as error:
            who = self.holder()
            began = who.get("started")
            since = f"It was started at {time.ctime(began)}" if isinstance(began, float) else ""
            raise CheckpointError(
                f"run {self.run_id} is in use by process {who.get('pid', '?')}.",
                f"{since} on host {who.get('host')}." if since else "",
                "Wait for it, or stop it; a second process would damage the run.",
            ) from error
        except OSError as error:
            raise _unwritable(self.path, error) from error
        try:
            remove_dead(self.path, locked=True)
            record = {
                "pid": os.getpid(),
                "host": host_id(),
                "boot_id": boot_id(),
                "started": time.time(),
            }
            write_json(holder, record)
            yield
        finally:
            with suppress(OSError):
                holder.unlink()
            lock.release()

    def holder(self) -> dict[str, Any]:
        """Return who holds (or last held) the lock; ``{}`` where that is not known."""
        try:
            return read_object(self.path / "lock.json")
        except CheckpointError:
            return {}

    def is_locked(self) -> bool:
        """Return whether a living process holds the run's lock (False if that cannot be known)."""
        lock = filelock.FileLock(self.path / "lock")
        if not (self.path / "lock").exists():
            return False
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            return True
        except OSError:  # a store that may only be read
            return False
        lock.release()
        return False


def run_folders(root: Path) -> list[RunFolder]:
    """Return the folders of all searches under ``root``, by name."""
    if not root.is_dir():
        return []
    found = (p for p in root.iterdir() if not p.name.startswith(("_", ".")))
    return [RunFolder(p) for p in sorted(found) if is_file(p / "config.toml")]


def stored_runs(root: Path) -> Iterator[tuple[str, RunFolder]]:
    """Yield stage and folder of all a store reports: searches, retrainings, ended studies."""
    for stage, part in (("search", root), ("retrain", root / RETRAININGS)):
        for folder in run_folders(part):
            yield stage, folder
    studies = root / STUDIES
    for path in sorted(studies.iterdir()) if studies.is_dir() else ():
        if (path / "result.json").is_file():
            yield "gradients", RunFolder(path)


def is_file(path: Path) -> bool:
    """Whether ``path`` is a file; no name that users can give is an error."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or has a NUL character
        return False


def find_run(root: Path, name: str) -> RunFolder:
    """Return the run called ``name``: a path, a run id, or an unambiguous beginning of one.

    Raises:
        UnknownRunError: There is none, or several.
        CheckpointError: Its parts do not belong together.
    """
    return _locate(root, name).verified()


def find_any_run(root: Path, name: str) -> RunFolder:
    """Return the run that :func:`locate_any_run` finds; raises a :class:`CheckpointError` too if
    its parts do not belong together.
    """
    return locate_any_run(root, name).verified()


def locate_any_run(root: Path, name: str) -> RunFolder:
    """Return the search or, below ``_retrain``, the retraining called ``name``, damaged or not.

    A whole name of either kind wins over a beginning; a beginning is looked for among retrainings
    first (they begin with the name of their search).

    Raises:
        UnknownRunError: There is none, or several.
    """
    if name.strip() and is_file(root / name / "config.toml"):
        return RunFolder(root / name)
    if run_folders(root / RETRAININGS):
        try:
            return _locate(root / RETRAININGS, name)
        except UnknownRunError as error:
            if error.several:
                raise
    return _locate(root, name)


def _locate(root: Path, name: str) -> RunFolder:
    if not name.strip():
        raise UnknownRunError(name, root)
    direct = Path(name)
    if is_file(direct / "config.toml"):
        return RunFolder(direct)
    folders = run_folders(root)
    found = [f for f in folders if f.run_id == name] or [
        f for f in folders if f.run_id.startswith(name)
    ]
    if len(found) == 1:
        return found[0]
    raise UnknownRunError(name, root, [f.run_id for f in (found or folders)], several=bool(found))
