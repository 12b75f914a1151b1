"""Checkpoints: tensors and plain containers, written atomically, loaded safely."""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nasbench_snas.errors import CheckpointError
from nasbench_snas.outside import UNREADABLE
from nasbench_snas.runs.binding import plain
from nasbench_snas.runs.folder import write_atomic

FORMAT = 2
READ = (1, FORMAT)
"""Formats that are read. In format 2 the tensors of a network are joined (:func:`joined`)."""
JOINED = "joined tensors"
FEWEST = 32
"""Tensors in a dictionary from which on they are joined."""


def save_checkpoint(path: Path, state: dict[str, Any], *, config_hash: str) -> None:
    """Write ``state`` with its format and the hash of the settings it belongs to.

    Raises:
        CheckpointError: It cannot be written; the previous checkpoint is untouched.
    """
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "config_hash": config_hash, "state": joined(state)}, buffer)
    write_atomic(path, buffer.getvalue())


def load_checkpoint(path: Path, *, config_hash: str | Sequence[str]) -> dict[str, Any]:
    """Return the state that :func:`save_checkpoint` wrote, all its tensors on the host.

    Whoever continues from it moves what belongs on a device: what a run keeps on the host (the
    history, the steps of Adam, generators' states) stays there, and a run of a GPU opens anywhere.

    Args:
        path: The file.
        config_hash: Hash of the settings it must belong to, or several that it may have.

    Raises:
        CheckpointError: It is damaged, of another format, or belongs to other settings. Nothing is
            overwritten.
    """
    try:
        _check_sums(plain(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
        kind, found, state = content["format"], content["config_hash"], content["state"]
    except torch.OutOfMemoryError:
        raise
    except UNREADABLE as error:
        raise damaged(path, error) from error
    if kind not in READ:
        raise CheckpointError(
            f"{path} has checkpoint format {kind}, this version reads {READ[0]} to {FORMAT}.",
            fix="Use the version of nasbench_snas that wrote it (see env.json).",
        )
    accepted = [config_hash] if isinstance(config_hash, str) else list(config_hash)
    if found not in accepted:
        raise CheckpointError(
            f"{path} belongs to other settings (hash {found}, expected {accepted[0]}).",
            "Continuing would mix two experiments; nothing was changed.",
            "Move the file away, or start anew with --resume never.",
        )
    try:
        return dict(parted(state))
    except UNREADABLE as error:
        raise damaged(path, error) from error


def joined(value: Any) -> Any:
    """Return ``value`` with the tensors of large dictionaries of tensors as one tensor a type.

    A parent has thousands of small tensors, and an archive has an entry for each: written after
    every epoch of a small search, they take longer than its steps.
    """
    if not isinstance(value, dict):
        return value
    tensors = [tensor for tensor in value.values() if type(tensor) is Tensor]
    alike = len(tensors) == len(value) and len({tensor.device for tensor in tensors}) == 1
    if not alike or len(value) < FEWEST:
        return {key: joined(part) for key, part in value.items()} if type(value) is dict else value
    flat: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        flat.setdefault(tensor.dtype, []).append(tensor.detach().reshape(-1))
    kinds = list(flat)
    return {
        JOINED: [torch.cat(flat[kind]) for kind in kinds],
        "keys": list(value),
        "kinds": [kinds.index(tensor.dtype) for tensor in tensors],
        "shapes": [list(tensor.shape) for tensor in tensors],
    }


def parted(value: Any) -> Any:
    """Return what :func:`joined` was given, every tensor with memory of its own."""
    if not isinstance(value, dict):
        return value
    if JOINED not in value:
        return {key: parted(part) for key, part in value.items()} if type(value) is dict else value
    seen = [0] * len(value[JOINED])
    found: dict[Any, Tensor] = {}
    for key, kind, shape in zip(value["keys"], value["kinds"], value["shapes"], strict=True):
        size = math.prod(shape)
        part = value[JOINED][kind][seen[kind] : seen[kind] + size]
        found[key] = part.view(shape).clone()
        seen[kind] += size
    return found


def _check_sums(path: Path) -> None:
    """Compare every part of the archive with its CRC, which ``torch.load`` does not."""
    with zipfile.ZipFile(path) as archive:
        if (part := archive.testzip()) is not None:
            raise ValueError(f"{part} differs from its checksum")


def damaged(path: Path, error: Exception) -> CheckpointError:
    """Return the error to raise where a checkpoint cannot be used because of ``error``."""
    first = str(error).splitlines()[0] if str(error) else type(error).__name__
    if isinstance(error, pickle.UnpicklingError):  # torch advises to switch its guard off
        first = "it holds something else than tensors and plain values"
    return CheckpointError(
        f"checkpoint {path} is damaged or foreign: {first[:160]}",
        "Nothing was overwritten.",
        "Delete the file to start this run from the beginning.",
    )
