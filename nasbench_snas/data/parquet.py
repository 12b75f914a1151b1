"""Images from a folder of parquet files, in the layout of the Hugging Face hub.

A part is every file ``<part>.parquet``, ``<part>-….parquet`` or ``<part>/….parquet`` below the
folder, in the order of their names; ``validation`` (or ``val``, ``valid``) serves as ``test`` where
there is no ``test``. Images are a column of encoded files, as the hub writes them (a struct with
the field ``bytes``) or plain binary; labels are whole numbers, whose names are taken from the
files' own description of the column where it has them. Needs pyarrow, and nothing of the hub's
packages.
"""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from nasbench_snas.api import Images
from nasbench_snas.data.imagefolder import DECODE_ERRORS
from nasbench_snas.data.pictures import pil_pixels, stacked
from nasbench_snas.errors import DataError, MissingDependencyError

if TYPE_CHECKING:
    from torch import Tensor

    from nasbench_snas.data.catalogue import Part

_NAMES: dict[Part, tuple[str, ...]] = {
    "train": ("train",),
    "test": ("test", "validation", "val", "valid"),
}


def from_parquet(
    folder: Path,
    part: Part,
    *,
    image: str | None = None,
    label: str | None = None,
    size: int | None = None,
) -> Images:
    """Return one part of a folder of parquet files.

    Args:
        folder: Where the files are, at any depth.
        part: ``train`` or ``test``.
        image: The column of images; None: the only one that has encoded images.
        label: The column of labels; None: ``label``, or the only column of whole numbers.
        size: Side that every image is resized to; None: all have one size.

    Raises:
        DataError: There are no such files or columns, or an image is damaged.
        MissingDependencyError: pyarrow is missing.
    """
    table, names = _table(part_files(folder, part), image, label)
    content = hashlib.blake2b(json.dumps([size]).encode(), digest_size=8)
    images: list[Tensor] = []
    for position, encoded in enumerate(table["image"]):
        content.update(len(encoded).to_bytes(8, "little") + encoded)
        images.append(_decoded(encoded, f"{folder}: {part} image {position}"))
    if len({len(one) for one in images}) > 1:  # grey ones among coloured ones
        images = [one.expand(3, -1, -1) for one in images]
    return Images(
        images=stacked(images, size),
        labels=torch.tensor(table["label"], dtype=torch.int64),
        classes=names,
        digest=content.hexdigest(),
    )


def part_files(folder: Path, part: Part) -> list[Path]:
    """Return the parquet files of one part, by name.

    Raises:
        DataError: There are none.
    """
    files = sorted(folder.rglob("*.parquet")) if folder.is_dir() else []
    for name in _NAMES[part]:
        found = [file for file in files if _is_of(file.relative_to(folder), name)]
        if found:
            return found
    raise DataError(
        f"{folder} has no parquet files of the {part} images",
        f"expected files such as {_NAMES[part][0]}-00000-of-00001.parquet",
        "point --data-root at the folder that holds them",
    )


def _is_of(file: Path, name: str) -> bool:
    stem = file.stem
    named = stem == name or stem.startswith((f"{name}-", f"{name}."))
    return named or name in file.parts[:-1]


def _table(
    files: list[Path], image: str | None, label: str | None
) -> tuple[dict[str, list[Any]], tuple[str, ...]]:
    """Return encoded images and labels, and the names of the classes where they are known."""
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingDependencyError(
            "pyarrow is missing.",
            "Folders of parquet files are read with it.",
            "pip install 'nasbench-snas[parquet]'",
        ) from error
    try:
        schema = parquet.read_schema(files[0])
        image = image or _image_column(schema, arrow, files[0])
        label = label or _label_column(schema, arrow, files[0])
        found: dict[str, list[Any]] = {"image": [], "label": []}
        for file in files:
            table = parquet.read_table(file, columns=[image, label])
            found["image"] += [_bytes(value, file) for value in table[image].to_pylist()]
            found["label"] += table[label].to_pylist()
    except (arrow.ArrowException, KeyError, OSError) as error:
        raise DataError(
            f"{files[0].parent}: the parquet files cannot be read: {error}",
            "expected whole files with the same columns",
        ) from error
    wrong = next((v for v in found["label"] if type(v) is not int), 0)
    if type(wrong) is not int:
        raise DataError(
            f"column {label!r} has the label {wrong!r}", "expected whole numbers from 0"
        )
    return found, _class_names(schema.metadata or {}, label)


def _image_column(schema: Any, arrow: Any, file: Path) -> str:
    types = arrow.types
    found = [
        field.name
        for field in schema
        if types.is_binary(field.type)
        or types.is_large_binary(field.type)
        or (types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0)
    ]
    return _only(found, "images", "image", file, schema.names)


def _label_column(schema: Any, arrow: Any, file: Path) -> str:
    found = [field.name for field in schema if arrow.types.is_integer(field.type)]
    return "label" if "label" in found else _only(found, "labels", "label", file, schema.names)


def _only(found: list[str], what: str, argument: str, file: Path, columns: list[str]) -> str:
    if len(found) == 1:
        return found[0]
    raise DataError(
        f"{file}: {len(found)} columns could be the {what}",
        f"its columns: {', '.join(columns)}",
        f"name it: from_parquet(…, {argument}='…')",
    )


def _bytes(value: Any, file: Path) -> bytes:
    encoded = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(encoded, bytes):
        raise DataError(
            f"{file}: an image has no bytes",
            "expected the encoded image in the table; files beside it are not read",
        )
    return encoded


def _decoded(encoded: bytes, where: str) -> Tensor:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(encoded)) as image:
            return pil_pixels(image)
    except (*DECODE_ERRORS, Image.DecompressionBombError) as error:
        raise DataError(f"{where} cannot be decoded: {error}", "expected a whole image") from error


def _class_names(metadata: dict[bytes, bytes], label: str) -> tuple[str, ...]:
    """Return the names that the hub's description of the features gives the labels, if any."""
    try:
        described = json.loads(metadata[b"huggingface"])["info"]["features"][label]["names"]
        return tuple(str(name) for name in described)
    except (KeyError, TypeError, ValueError):
        return ()
