"""Decoded images on disk, so that a tree of files is decoded once.

A cache file is named by a hash of what it was made from, holds a checksum of what is in it, and
appears whole or not at all (written beside its place, then renamed). A file that does not fit is
ignored and made again; a folder that cannot be written costs time and nothing else.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import logging
import os
import pickle
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nasbench_snas.outside import UNREADABLE

_LOG = logging.getLogger("nasbench_snas")
_VERSION = 2
_DEAD_SECONDS = 3600.0


def content_key(*words: object) -> str:
    """Return a hash of everything that decides the decoded images, as JSON values."""
    text = json.dumps([_VERSION, *words])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def digest(*tensors: Tensor) -> str:
    """Return a checksum of the bytes of `tensors` one after another, on the CPU."""
    content = hashlib.blake2b(digest_size=16)
    for tensor in tensors:
        content.update(tensor.contiguous().numpy().data)
    return content.hexdigest()


def read(path: Path, key: str) -> tuple[Tensor, Tensor] | None:
    """Return ``(images, labels)`` from a cache file, or None if it is absent or does not fit."""
    if not path.exists():
        return None
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        images, labels = content["images"], content["labels"]
        whole = content["key"] == key and content["digest"] == digest(images, labels)
    except pickle.UnpicklingError:
        _LOG.warning("cache %s is not a cache file; decoding again", path)
        return None
    except UNREADABLE as error:
        _LOG.warning("cache %s cannot be read (%s); decoding again", path, error)
        return None
    if not whole:
        _LOG.warning("cache %s is damaged; decoding again", path)
        return None
    return images, labels


def _remove_dead(path: Path) -> None:
    """Remove what writers of this file left behind that were killed: untouched for an hour."""
    for left in path.parent.glob(f"{glob.escape(path.name)}*.tmp"):
        with contextlib.suppress(OSError):  # another process was faster
            if time.time() - left.stat().st_mtime > _DEAD_SECONDS:
                left.unlink()


def write(path: Path, key: str, images: Tensor, labels: Tensor) -> bool:
    """Write a cache file whole or not at all; return whether it is there now.

    Args:
        path: Where the file goes; its folder is made.
        key: The hash that `read` will ask for.
        images: uint8 pixels, shape `(N, C, H, W)`.
        labels: int64 class numbers, shape `(N,)`.
    """
    content = {"key": key, "digest": digest(images, labels), "images": images, "labels": labels}
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_dead(path)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
        with os.fdopen(handle, "wb") as stream:
            torch.save(content, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        _LOG.warning("cache %s cannot be written (%s); going on without", path, error)
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        return False
    return True
