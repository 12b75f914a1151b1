"""Deep, odd and dangerous image files: right, or refused with a word of what to do."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nasbench_snas.data import load_part
from nasbench_snas.data.imagefolder import decode, list_part
from nasbench_snas.data.lazy import LazyImages
from nasbench_snas.data.settings import DataSettings
from nasbench_snas.errors import ConfigError, DataError

Tree = Callable[..., Path]


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_sixteen_bit_grey_is_scaled_and_not_clipped(tmp_path: Path, suffix: str) -> None:
    values = np.array([[0, 257, 128 * 257], [1000, 40000, 65535]], dtype=np.uint16)
    file = tmp_path / f"deep.{suffix}"
    Image.fromarray(values).save(file)
    expected = np.rint(values / 257)
    assert np.array_equal(decode(file, None).numpy(), np.stack([expected] * 3))


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_values_without_a_known_range_are_refused(tmp_path: Path, kind: type) -> None:
    file = tmp_path / "deep.tiff"
    Image.fromarray(np.full((4, 4), 1000, dtype=kind)).save(file)
    with pytest.raises(DataError, match="16-bit PNG"):
        decode(file, None)


@pytest.mark.parametrize("target", [".", "..", "../dog"])
def test_a_link_that_counts_images_twice_is_refused(tree: Tree, target: str) -> None:
    root = tree()
    (root / "train" / "cat" / "more").symlink_to(target, target_is_directory=True)
    with pytest.raises(DataError, match="counted already"):
        list_part(root, "train")


def test_a_link_to_a_folder_elsewhere_is_followed(tree: Tree, tmp_path: Path) -> None:
    root = tree()
    before = len(list_part(root, "train").files)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    Image.new("RGB", (8, 8)).save(elsewhere / "x.png")
    (root / "train" / "cat" / "more").symlink_to(elsewhere)
    assert len(list_part(root, "train").files) == before + 1


def test_a_pipe_and_a_dangling_link_are_refused_at_once(tree: Tree) -> None:
    root = tree()
    odd = root / "train" / "cat" / "x.png"
    os.mkfifo(odd)
    with pytest.raises(DataError, match="no regular file"):
        list_part(root, "train")
    odd.unlink()
    odd.symlink_to("nowhere.png")
    with pytest.raises(DataError, match="leads nowhere"):
        list_part(root, "train")


def test_a_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "bomb.png"
    Image.new("RGB", (64, 64)).save(file)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 16)
    with pytest.raises(DataError, match="cannot be decoded"):
        decode(file, None)


def test_images_that_are_not_square_are_refused_or_made_square(tmp_path: Path) -> None:
    folder = tmp_path / "train" / "a"
    folder.mkdir(parents=True)
    for number in range(2):
        Image.new("RGB", (300, 17)).save(folder / f"{number}.png")
    settings = DataSettings.model_validate({"dataset": "imagefolder", "root": tmp_path})
    with pytest.raises(ConfigError, match="300x17"):
        load_part(settings, "train")
    square = settings.model_copy(update={"resolution": 16})
    assert load_part(square, "train").images.shape == (2, 3, 16, 16)


def test_images_that_are_decoded_when_needed_are_scaled_alike(tree: Tree) -> None:
    root = tree()
    values = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000
    file = list_part(root, "train").files[0]
    Image.fromarray(values).save(file, "PNG")
    image, _ = LazyImages(list_part(root, "train"), np.array)[0, 0]
    assert np.array_equal(np.asarray(image)[:, :, 0], np.rint(values / 257))
