"""Is a data set there, whole and what it should be? And fetching it, where that can be done.

Checks: presence of every file, torchvision's MD5 sums for CIFAR, decoding of every image for
imagefolder, the numbers of images and classes.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

from nasbench_snas.data import cifar, imagefolder
from nasbench_snas.data.catalogue import CATALOGUE, prepare_command
from nasbench_snas.data.loaders import read
from nasbench_snas.data.settings import DataSettings, Part
from nasbench_snas.errors import ConfigError, DataError, suggest

_MOST_NAMED = 5


@dataclass(frozen=True)
class Check:
    """One thing that was checked.

    Attributes:
        name: What was checked.
        ok: Whether it is as it should be.
        detail: What was found.
    """

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True)
class VerifyReport:
    """What `verify` found.

    Attributes:
        dataset: Name of the data set.
        root: The folder it was looked for in, as text; empty where it has none.
        checks: Every check, in order.
        fix: What to do if a check failed.
    """

    dataset: str
    root: str
    checks: tuple[Check, ...]
    fix: str

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return all(check.ok for check in self.checks)


def verify(settings: DataSettings) -> VerifyReport:
    """Check presence, checksums where they are known, and counts of a data set.

    What is wrong with the data is in the report and not raised.
    """
    name, root = settings.dataset, settings.data_root
    checks: list[Check] = []
    fix = ""
    if name in ("cifar10", "cifar100"):
        checks += _cifar_files(name, root, known=settings.checksums == "known")
        fix = f"run: {prepare_command(name, root)}"
    elif name == "imagefolder":
        checks += _decoded(settings)
        fix = "replace or remove the files named, or point data.root at another tree"
    if all(check.ok for check in checks) and name != "imagefolder":
        checks += [_counted(settings, "train"), _counted(settings, "test")]
    place = str(root) if name in ("cifar10", "cifar100", "imagefolder") else ""
    return VerifyReport(name, place, tuple(checks), fix)


def _cifar_files(name: str, root: Path, *, known: bool) -> list[Check]:
    from torchvision.datasets.utils import check_integrity

    checks = []
    for path, md5 in cifar.files(name, root):
        if not path.exists():
            checks.append(Check(path.name, False, f"{path} does not exist"))
        elif not known:
            checks.append(Check(path.name, True, "there; its contents are not verified"))
        elif check_integrity(str(path), md5):
            checks.append(Check(path.name, True, f"MD5 {md5}"))
        else:
            checks.append(Check(path.name, False, f"{path}: its MD5 sum is not {md5}"))
    return checks


def _counted(settings: DataSettings, part: Part) -> Check:
    name = f"{part} images"
    whole = settings.model_copy(update={"max_train_images": None, "max_test_images": None})
    try:
        data = read(whole, part)
    except DataError as error:
        return Check(name, False, str(error))
    info = settings.info
    expected = info.train_images if part == "train" else info.test_images
    expected = None if settings.checksums == "any" else expected
    present = int((torch.bincount(data.labels, minlength=data.num_classes) > 0).sum())
    ok = expected in (None, len(data)) and info.classes in (None, present)
    wanted = "" if ok else f"; expected {expected} in {info.classes} classes"
    return Check(name, ok, f"{len(data)} images in {present} classes{wanted}")


def _decoded(settings: DataSettings) -> list[Check]:
    checks = []
    root = settings.data_root
    for part in ("train", "test"):
        if part == "test" and not any((root / name).is_dir() for name in ("test", "val")):
            checks.append(Check("test images", True, "no test/ or val/ folder: searches only"))
            continue
        try:
            listing = imagefolder.list_part(root, part)
        except DataError as error:
            checks.append(Check(f"{part} images", False, str(error)))
            continue
        with ThreadPoolExecutor(max(1, settings.workers)) as pool:
            damaged = [text for text in pool.map(_damage, listing.files) if text]
        detail = f"{len(listing.files)} images in {len(listing.class_names)} classes"
        if damaged:
            more = f" and {len(damaged) - _MOST_NAMED} more" if len(damaged) > _MOST_NAMED else ""
            detail += f"; damaged: {', '.join(damaged[:_MOST_NAMED])}{more}"
        checks.append(Check(f"{part} images", not damaged, detail))
    return checks


def _damage(path: Path) -> str:
    try:
        imagefolder.decode(path, None)
    except DataError:
        return str(path)
    return ""


def prepare(name: str, root: Path) -> str:
    """Fetch a data set into `root` where that can be done, and say what is there now.

    Raises:
        ConfigError: No data set has that name.
        DataError: It cannot be fetched, or what was fetched is not whole.
    """
    if name not in CATALOGUE:
        raise ConfigError(f"no data set is called {name!r}", suggest(name, CATALOGUE))
    if name == "imagefolder":
        raise DataError(
            "imagefolder cannot be fetched: it is whatever images you have",
            f"expected files as {root / 'train'}/<class>/<image>, and test/ or val/ likewise",
            f"put them there, then run: nasbench data verify imagefolder --root {root}",
        )
    if not CATALOGUE[name].download:
        return f"{name}: nothing to fetch, {CATALOGUE[name].summary}"
    cifar.prepare(name, root)
    report = verify(DataSettings.model_validate({"dataset": name, "root": root}))
    if not report.ok:
        bad = next(check for check in report.checks if not check.ok)
        raise DataError(f"{name}: {bad.detail}", "the fetched files are not whole", report.fix)
    return f"{name} in {root}: {'; '.join(check.detail for check in report.checks[-2:])}"
