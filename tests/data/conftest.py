"""Small data sets on disk for the tests of the data package."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nasbench_snas.data.settings import DataSettings

VARIABLE = "NASBENCH_TEST_IMAGEFOLDER"
BESIDE = Path(__file__).resolve().parents[3] / "shared" / "data" / "cifar10-mini"


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every test away from the user's data and cache."""
    monkeypatch.setenv("NASBENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("NASBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def still_generators() -> Iterator[None]:
    """Fail the test if a global generator moves."""
    import random

    import sklearn.datasets  # noqa: F401 - its import, not its use, draws from Python's generator

    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    yield
    assert torch.equal(before[0], torch.get_rng_state()), "torch's global generator moved"
    assert before[1] == random.getstate(), "Python's global generator moved"
    assert (before[2] == np.random.get_state()[1]).all(), "NumPy's global generator moved"  # noqa: NPY002


@pytest.fixture
def photographs() -> Path:
    """A real ImageFolder tree with 10 classes in train/ and test/."""
    chosen = Path(os.environ[VARIABLE]) if VARIABLE in os.environ else BESIDE
    if not (chosen / "train").is_dir():
        pytest.skip(f"no image folder: set {VARIABLE} to one with train/ and test/")
    return chosen


@pytest.fixture
def tree(tmp_path: Path) -> Callable[..., Path]:
    """Make a small ImageFolder tree; returns its root."""

    def make(
        parts: tuple[str, ...] = ("train", "test"),
        classes: tuple[str, ...] = ("cat", "dog"),
        each: int = 4,
        size: tuple[int, int] = (12, 12),
    ) -> Path:
        pixels = np.random.default_rng(0)
        for part in parts:
            for number, name in enumerate(classes):
                folder = tmp_path / "tree" / part / name
                folder.mkdir(parents=True, exist_ok=True)
                for image in range(each):
                    array = pixels.integers(0, 100, (size[1], size[0], 3), dtype=np.uint8)
                    array[..., number % 3] += 100
                    Image.fromarray(array).save(folder / f"{image:03d}.png")
        return tmp_path / "tree"

    return make


@pytest.fixture
def small_cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Write a small CIFAR in the real on-disk format and let torchvision expect its checksums."""
    from torchvision import datasets

    def write(file: Path, content: Any) -> str:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(pickle.dumps(content))
        return hashlib.md5(file.read_bytes()).hexdigest()

    def batch(seed: int, count: int, key: str, classes: int) -> dict[str, Any]:
        pixels = np.random.default_rng(seed).integers(0, 256, (count, 3072), dtype=np.uint8)
        return {"data": pixels, key: [(seed + i) % classes for i in range(count)]}

    def make(name: str) -> Path:
        root = tmp_path / "data"
        source = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
        key, meta_key = source.meta["key"].replace("label_names", "labels"), source.meta["key"]
        key = "labels" if name == "cifar10" else "fine_labels"
        classes = 10 if name == "cifar10" else 100
        folder = root / source.base_folder
        for attribute in ("train_list", "test_list"):
            listed = [
                [file, write(folder / file, batch(seed, 100, key, classes))]
                for seed, (file, _) in enumerate(getattr(source, attribute))
            ]
            monkeypatch.setattr(source, attribute, listed)
        names = [f"name {number}" for number in range(classes)]
        md5 = write(folder / source.meta["filename"], {meta_key: names})
        monkeypatch.setattr(source, "meta", {**source.meta, "md5": md5})
        return root

    return make


@pytest.fixture
def fake() -> Callable[..., DataSettings]:
    """Settings of the data set fake, with changes."""

    def make(**changes: Any) -> DataSettings:
        return DataSettings.model_validate({"dataset": "fake", **changes})

    return make
