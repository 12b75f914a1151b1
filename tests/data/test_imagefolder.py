from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nasbench_snas.data import cache, imagefolder, verify
from nasbench_snas.data.registry import load_part
from nasbench_snas.data.settings import DataSettings
from nasbench_snas.data.splits import load_splits, load_test
from nasbench_snas.errors import ConfigError, DataError

Maker = Callable[..., Path]


def folder_settings(root: Path, **changes: Any) -> DataSettings:
    return DataSettings.model_validate({"dataset": "imagefolder", "root": root, **changes})


def test_a_tree_of_images_is_read_pixel_by_pixel(tree: Maker) -> None:
    root = tree()
    train = load_part(folder_settings(root), "train")
    assert train.images.shape == (8, 3, 12, 12) and train.class_names == ("cat", "dog")
    assert train.labels.tolist() == [0] * 4 + [1] * 4
    pixels = np.array(Image.open(root / "train" / "dog" / "002.png")).transpose(2, 0, 1)
    assert np.array_equal(train.images[6].numpy(), pixels)
    assert load_part(folder_settings(root), "test").source.endswith("test")


def test_val_serves_as_test_and_no_test_is_an_error_only_where_it_is_needed(tree: Maker) -> None:
    root = tree(parts=("train", "val"))
    assert load_part(folder_settings(root), "test").source.endswith("val")
    for file in sorted((root / "val").rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    (root / "val").rmdir()
    load_splits(folder_settings(root), 0)
    with pytest.raises(DataError, match="no test/ or val/"):
        load_test(folder_settings(root))
    assert verify(folder_settings(root)).ok


def test_the_cache_gives_the_same_images_without_decoding(
    tree: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = folder_settings(tree(), resolution=8)
    first = load_part(settings, "train")
    assert len(list(settings.cache_folder.rglob("*.pt"))) == 1
    assert not list(settings.cache_folder.rglob("*.tmp"))

    def never(*_: object) -> None:
        raise RuntimeError("decoded again")

    monkeypatch.setattr(imagefolder, "decode_all", never)
    again = load_part(settings, "train")
    assert torch.equal(first.images, again.images) and torch.equal(first.labels, again.labels)
    with pytest.raises(RuntimeError, match="decoded again"):
        load_part(settings.model_copy(update={"resolution": 6}), "train")


def test_a_changed_tree_is_decoded_again(tree: Maker) -> None:
    root = tree()
    settings = folder_settings(root)
    before = load_part(settings, "train").images
    Image.new("RGB", (12, 12), (1, 2, 3)).save(root / "train" / "cat" / "000.png")
    after = load_part(settings, "train").images
    assert torch.equal(before[1:], after[1:])
    assert after[0, :, 0, 0].tolist() == [1, 2, 3]


@pytest.mark.parametrize("damage", ["cut", "garbage", "opcode", "flipped bit"])
def test_a_damaged_cache_is_ignored_and_made_again(
    tree: Maker, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = folder_settings(tree())
    expected = load_part(settings, "train").images
    (file,) = settings.cache_folder.rglob("*.pt")
    whole = file.read_bytes()
    if damage == "cut":
        file.write_bytes(whole[: len(whole) // 2])
    elif damage == "garbage":
        file.write_bytes(b"not a cache")
    elif damage == "opcode":  # appends to a list that is not there
        file.write_bytes(b"\x80\x02a.")
    else:
        place = whole.index(expected.numpy().tobytes()[:64])
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    assert torch.equal(load_part(settings, "train").images, expected)
    assert "decoding again" in caplog.text
    assert cache.read(file, file.stem) is not None


def test_a_cache_that_cannot_be_written_costs_only_time(
    tree: Maker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the folder should be")
    data = load_part(folder_settings(tree(), cache_dir=blocked), "train")
    assert len(data) == 8 and "cannot be written" in caplog.text


def test_what_a_killed_writer_left_is_removed_by_the_next_one(tmp_path: Path) -> None:
    file = tmp_path / "c" / "x.pt"
    dead, living, other = (file.parent / f"{n}.tmp" for n in ("x.ptabc", "x.ptdef", "y.ptabc"))
    file.parent.mkdir()
    for left in (dead, living, other):
        left.write_bytes(b"half")
    for left in (dead, other):
        os.utime(left, (1, 1))
    images = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    assert cache.write(file, "k", images, torch.zeros(1).long())
    assert sorted(p.name for p in file.parent.iterdir()) == ["x.pt", "x.ptdef.tmp", "y.ptabc.tmp"]


def test_a_write_that_fails_half_way_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(content: object, stream: Any) -> None:
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.torch, "save", full)
    images = torch.zeros(1, 1, 4, 4, dtype=torch.uint8)
    assert not cache.write(tmp_path / "c" / "x.pt", "k", images, torch.zeros(1).long())
    assert list((tmp_path / "c").iterdir()) == []


@pytest.mark.parametrize("damage", ["cut", "text", "empty"])
def test_a_damaged_image_is_named(tree: Maker, damage: str) -> None:
    root = tree(size=(64, 64))
    bad = root / "train" / "dog" / "001.png"
    whole = bad.read_bytes()
    bad.write_bytes({"cut": whole[: len(whole) // 2], "text": b"hello", "empty": b""}[damage])
    with pytest.raises(DataError) as caught:
        load_part(folder_settings(root), "train")
    assert str(bad) in caught.value.what
    report = verify(folder_settings(root))
    assert not report.ok and str(bad) in report.checks[0].detail


def test_images_of_different_sizes_need_a_resolution(tree: Maker) -> None:
    root = tree()
    Image.new("RGB", (30, 20)).save(root / "train" / "dog" / "odd.png")
    with pytest.raises(ConfigError, match="odd.png has 30x20 pixels, .* 12x12"):
        load_part(folder_settings(root), "train")
    assert load_part(folder_settings(root, resolution=10), "train").images.shape[-1] == 10


def test_grey_and_palette_images_become_colour(tree: Maker) -> None:
    root = tree()
    Image.new("L", (12, 12), 77).save(root / "train" / "cat" / "000.png")
    data = load_part(folder_settings(root), "train")
    assert data.images[0].unique().tolist() == [77] and data.images.shape[1] == 3


def test_trees_that_cannot_be_used_say_why(tree: Maker, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no train/ folder"):
        load_part(folder_settings(tmp_path / "nowhere"), "train")
    (tmp_path / "bare" / "train").mkdir(parents=True)
    with pytest.raises(DataError, match="cannot be used"):
        load_part(folder_settings(tmp_path / "bare"), "train")
    root = tree()
    (root / "train" / "cow").mkdir()
    with pytest.raises(DataError, match="cow"):
        load_part(folder_settings(root), "train")
    Image.new("RGB", (12, 12)).save(root / "train" / "cow" / "0.png")
    with pytest.raises(DataError, match="(?s)classes of .*cow"):
        load_part(folder_settings(root), "test")


@pytest.mark.slow
def test_the_whole_tree_of_photographs_is_whole(photographs: Path) -> None:
    report = verify(folder_settings(photographs))
    assert report.ok, report
    assert "10000 images in 10 classes" in report.checks[0].detail
