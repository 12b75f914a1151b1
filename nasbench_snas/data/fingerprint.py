"""What images a run sees, as one short text that is part of the run's identity.

A fingerprint is a blake2b digest of the contents of a part: for a tree of image files the bytes of
every file with its name, class number and class names; for the other data sets, plug-ins too, the
pixels and labels (CIFAR: the checksums that its reader insists on). Paths and times do not enter
it, so that a copy of a tree has the fingerprint of the tree.

Every file is read once (:mod:`nasbench_snas.data.digests`). Above ``LARGE_BYTES`` a user may choose
``data.fingerprint = "listing"``: names, sizes and times instead of contents, weaker, and said
wherever the run is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from nasbench_snas.data.digests import digest_of, listing_digest
from nasbench_snas.data.images import pixel_digest
from nasbench_snas.data.loaders import get_loader, read
from nasbench_snas.data.settings import DataSettings, FakeSettings, Part
from nasbench_snas.errors import DataError


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
    if settings.own is not None:
        return settings.own.digest(settings.data_root, part)
    if settings.checksums == "any":
        return pixel_digest(read(settings, part))
    if settings.dataset in ("cifar10", "cifar100"):
        from nasbench_snas.data.cifar import files

        sums = [[path.name, md5] for path, md5 in files(settings.dataset, settings.data_root)]
        return digest_of(["cifar", part, sums])
    return _embedded(settings.dataset, settings.fake, part)


@lru_cache(maxsize=32)
def _embedded(dataset: str, fake: FakeSettings, part: Part) -> str:
    """Return the digest of pixels and labels of a data set that is computed, not read."""
    plain = DataSettings.model_validate({"dataset": dataset, "fake": fake.model_dump()})
    return pixel_digest(get_loader(dataset)(plain, part))
