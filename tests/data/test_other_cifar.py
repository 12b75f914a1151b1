"""CIFAR-10's format with other contents: read where it is asked for, never by executing it."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from nasbench_snas.data.cifar import load
from nasbench_snas.data.fingerprint import with_content
from nasbench_snas.data.settings import DataSettings
from nasbench_snas.errors import DataError


def write(root: Path, images: int = 4, keys: type = str, seed: int = 0) -> Path:
    """Write a folder in CIFAR-10's format with ``images`` images a file."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        data = rng.integers(256, size=(images, 3072), dtype=np.uint8)
        content = {"data": data, "labels": [i % 10 for i in range(images)]}
        if keys is bytes:
            content = {key.encode(): value for key, value in content.items()}
        (folder / name).write_bytes(pickle.dumps(content))
    names = {"label_names": [f"class {i}" for i in range(10)]}
    (folder / "batches.meta").write_bytes(pickle.dumps(names))
    return folder


def settings(root: Path, checksums: str = "any") -> DataSettings:
    values = {"dataset": "cifar10", "root": root, "checksums": checksums}
    return DataSettings.model_validate(values)


@pytest.mark.parametrize("keys", [str, bytes])
def test_files_with_other_contents_are_read_where_the_settings_say_so(
    keys: type, tmp_path: Path
) -> None:
    folder = write(tmp_path, keys=keys)
    with pytest.raises(DataError, match="checksum") as caught:
        load(settings(tmp_path, "known"), "train")
    assert "data.checksums=any" in str(caught.value)
    train, test = load(settings(tmp_path), "train"), load(settings(tmp_path), "test")
    assert (len(train), len(test)) == (20, 4)
    first = next(iter(pickle.loads((folder / "data_batch_1").read_bytes()).values()))
    assert (train.images[:4].reshape(4, -1).numpy() == first).all()
    assert train.labels[:4].tolist() == [0, 1, 2, 3] and train.class_names[9] == "class 9"


def test_the_contents_are_part_of_the_run(tmp_path: Path) -> None:
    write(tmp_path / "a")
    write(tmp_path / "b", seed=1)
    found = [with_content(settings(tmp_path / n), ("train",)).identity() for n in ("a", "b")]
    assert found[0]["content"] != found[1]["content"]
    assert found[0]["checksums"] == "any"
    assert "checksums" not in settings(tmp_path, "known").identity()


class Harmful:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_file_that_would_execute_something_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path)
    mark = tmp_path / "executed"
    (folder / "data_batch_2").write_bytes(pickle.dumps({"data": Harmful(mark)}))
    with pytest.raises(DataError, match="no file of arrays"):
        load(settings(tmp_path), "train")
    assert not mark.exists()


@pytest.mark.parametrize("wrong", [{"data": 3}, {"labels": [1]}, [], {"data": np.zeros((2, 5))}])
def test_another_format_is_refused(wrong: object, tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "data_batch_3").write_bytes(pickle.dumps(wrong))
    with pytest.raises(DataError, match="data_batch_3"):
        load(settings(tmp_path), "train")
