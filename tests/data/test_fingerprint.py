"""The images are part of a run's identity: other pixels or labels, another fingerprint."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from nasbench_snas.data import digests, fingerprint, load_part
from nasbench_snas.data.imagefolder import cache_file, list_part
from nasbench_snas.data.settings import DataSettings
from nasbench_snas.errors import DataError
from nasbench_snas.registry import Registry
from nasbench_snas.search.plan import plan_run

Tree = Callable[..., Path]


def of(root: Path, **more: object) -> DataSettings:
    return DataSettings.model_validate({"dataset": "imagefolder", "root": root, **more})


def repaint(file: Path, *, keep_times: bool = True) -> None:
    """Give a file other pixels, its size and (as rsync -a does) its times kept."""
    before, state = file.read_bytes(), file.stat()
    with Image.open(file) as image:
        kind, size = image.format, image.size
    Image.new("RGB", size, (1, 2, 3)).save(file, kind)
    content = file.read_bytes()[: len(before)]
    file.write_bytes(content + b"\0" * (len(before) - len(content)))
    if keep_times:
        os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))


def test_other_pixels_under_the_same_names_are_another_run(tree: Tree, tmp_path: Path) -> None:
    one = tree()
    other = tmp_path / "other"
    shutil.copytree(one, other)
    repaint(next((other / "train").rglob("*.png")))
    names = []
    for root in (one, other):
        words = ["data.dataset=imagefolder", f"data.root={root}", "data.resolution=8"]
        names.append(plan_run(Registry(), "snas", "snas-unit", assignments=words).run_id)
    assert names[0] != names[1]


def test_a_moved_tree_keeps_its_fingerprint(tree: Tree, tmp_path: Path) -> None:
    one = tree()
    shutil.copytree(one, tmp_path / "moved")
    found = {fingerprint.part_digest(of(r), "train") for r in (one, tmp_path / "moved")}
    assert len(found) == 1


def test_a_moved_label_is_another_fingerprint(tree: Tree) -> None:
    root = tree()
    before = fingerprint.part_digest(of(root), "train")
    cat, dog = sorted(p for p in (root / "train").iterdir())
    file = next(cat.iterdir())
    file.rename(dog / f"moved-{file.name}")
    assert fingerprint.part_digest(of(root), "train") != before


def test_equal_sizes_and_times_do_not_let_a_cache_serve_other_images(tree: Tree) -> None:
    root = tree()
    before = load_part(of(root), "train").images
    file = list_part(root, "train").files[0]
    state = file.stat()
    repaint(file)
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (state.st_size, state.st_mtime_ns)
    after = load_part(of(root), "train").images
    assert not torch.equal(before, after)
    assert after[0, :, 0, 0].tolist() == [1, 2, 3]


def test_remembered_digests_do_not_survive_a_change_that_keeps_size_and_time(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "_SETTLED_NS", -(10**18))  # remember at once
    root = tree()
    before = fingerprint.part_digest(of(root), "train")
    read: list[Path] = []
    whole = digests._file
    monkeypatch.setattr(digests, "_file", lambda path: read.append(path) or whole(path))
    assert fingerprint.part_digest(of(root), "train") == before and not read
    file = list_part(root, "train").files[0]
    repaint(file)
    assert fingerprint.part_digest(of(root), "train") != before and read == [file]


def test_a_damaged_memory_of_digests_is_not_believed(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "_SETTLED_NS", -(10**18))
    root = tree()
    before = fingerprint.part_digest(of(root), "train")
    (store,) = (of(root).cache_folder / "fingerprints").glob("*.json")
    text = store.read_text()
    cut = text.rindex('"]')
    store.write_text(text[: cut - 1] + ("0" if text[cut - 1] != "0" else "1") + text[cut:])
    assert fingerprint.part_digest(of(root), "train") == before


def test_a_flipped_label_in_a_cache_file_is_found(tree: Tree) -> None:
    root = tree()
    settings = of(root)
    labels = load_part(settings, "train").labels
    path, _ = cache_file(settings, list_part(root, "train"))
    content = torch.load(path, weights_only=True)
    content["labels"][0] = 1 - content["labels"][0]
    torch.save(content, path)
    assert torch.equal(load_part(settings, "train").labels, labels)


def test_images_that_changed_since_the_plan_are_refused(tree: Tree) -> None:
    root = tree()
    settings = fingerprint.with_content(of(root), ("train", "test"))
    load_part(settings, "train")
    repaint(list_part(root, "test").files[0])
    load_part(settings, "train")
    with pytest.raises(DataError, match="fingerprint"):
        load_part(settings, "test")


def test_a_listing_is_recorded_as_the_weaker_choice(tree: Tree) -> None:
    root = tree()
    weak = fingerprint.with_content(of(root, fingerprint="listing"), ("train",))
    assert weak.content is not None and weak.content.startswith("listing train:")
    assert weak.identity()["fingerprint"] == "listing"
    before = load_part(weak, "train").images
    repaint(list_part(root, "train").files[0])
    assert not torch.equal(load_part(weak, "train").images, before), "its cache is no weaker"


def test_settings_without_a_fingerprint_have_the_identity_of_before() -> None:
    values = DataSettings().identity()
    assert "content" not in values and "fingerprint" not in values


def test_embedded_images_have_one_too_and_it_tells_fake_images_apart() -> None:
    digits = fingerprint.with_content(DataSettings(), ("train", "test"))
    train, test = (fingerprint.part_digest(DataSettings(), part) for part in ("train", "test"))
    assert digits.content == f"train:{train},test:{test}"
    fakes = [DataSettings.model_validate({"dataset": "fake", "fake": {"seed": s}}) for s in (0, 1)]
    assert len({fingerprint.part_digest(fake, "train") for fake in fakes}) == 2
