"""Data sets of one's own: from arrays, torch data sets and parquet files, and what they become."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nasbench_snas.api import ImageDataset, Images
from nasbench_snas.data import from_arrays, from_parquet, from_torch, load_part, load_splits
from nasbench_snas.data.fingerprint import with_content
from nasbench_snas.data.settings import DataSettings
from nasbench_snas.data.source import OwnImages
from nasbench_snas.errors import ConfigError, DataError, MissingDependencyError, PluginError
from nasbench_snas.registry import Registry
from nasbench_snas.settings.sources import bound

RNG = np.random.default_rng(0)
GREY = RNG.integers(256, size=(30, 6, 6), dtype=np.uint8)
COLOUR = RNG.integers(256, size=(30, 6, 6, 3), dtype=np.uint8)
LABELS = np.arange(30) % 3


class Mine(ImageDataset):
    name = "mine"
    summary = "random"
    test_fraction = 0.2

    def __init__(self, images: Any = GREY, labels: Any = LABELS, names: Any = ()) -> None:
        self.made, self.asked = from_arrays(images, labels, names), 0

    def load(self, part: Any, root: Path) -> Any:
        self.asked += 1
        return self.made


class Apart(Mine):
    test_fraction = 0.0

    def __init__(self, train: Any, test: Any) -> None:
        self.parts = {"train": train, "test": test}

    def load(self, part: Any, root: Path) -> Any:
        return self.parts[part]


def settings(plugin: ImageDataset, **values: Any) -> DataSettings:
    return DataSettings(dataset="mine", **values).with_own(OwnImages(plugin), {})


def test_arrays_become_uint8_with_channels_first() -> None:
    for images, kwargs in (
        (COLOUR, {}),
        (COLOUR.transpose(0, 3, 1, 2), {"channels": "first"}),
        (torch.from_numpy(COLOUR), {}),
    ):
        made = from_arrays(images, LABELS, **kwargs)
        assert torch.equal(made.images, torch.from_numpy(COLOUR).permute(0, 3, 1, 2))
        assert made.images.is_contiguous() and made.labels.dtype == torch.int64
    assert from_arrays(GREY, LABELS).images.shape == (30, 1, 6, 6)


@pytest.mark.parametrize(
    ("images", "labels", "said"),
    [
        (GREY / 255, LABELS, "uint8"),
        (GREY.astype(np.int64), LABELS, "uint8"),
        (GREY[0], LABELS[:6], "shape"),
        (COLOUR.transpose(0, 3, 1, 2), LABELS, "channels='first'"),
        (GREY, LABELS[:-1], "one for each image"),
        (GREY, LABELS.astype(float), "whole numbers"),
    ],
)
def test_what_could_be_silently_wrong_is_refused(images: Any, labels: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        from_arrays(images, labels)


def test_items_of_a_torch_data_set_may_be_of_any_exact_form() -> None:
    tensors = torch.from_numpy(COLOUR).permute(0, 3, 1, 2)
    forms = {
        "pil": [Image.fromarray(one) for one in COLOUR],
        "array": list(COLOUR),
        "tensor": list(tensors),
        "ToTensor": [one.float() / 255 for one in tensors],
    }
    for name, images in forms.items():
        made = from_torch([(one, int(label)) for one, label in zip(images, LABELS, strict=True)])
        assert torch.equal(made.images, tensors), name
        assert made.labels.tolist() == LABELS.tolist()
    for wrong in (tensors[0].float() / 255 - 0.5, tensors[0].float(), 0.001 * torch.ones(3, 6, 6)):
        with pytest.raises(DataError, match="image 0"):
            from_torch([(wrong, 0)])
    with pytest.raises(DataError, match="size=32"):
        from_torch([(tensors[0], 0), (tensors[1, :, :4], 1)])
    assert from_torch([(tensors[0], 0), (tensors[1, :, :4], 1)], size=4).images.shape[2:] == (4, 4)


def encoded(pixels: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    return stream.getvalue()


def hub_folder(folder: Path, part: str = "test", column: str = "image") -> Path:
    """Write parquet files as the hub's packages write them: two of one part, one of another."""
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    features = {"info": {"features": {"label": {"names": ["a", "b", "c"]}}}}
    for name, rows in (
        ("train-00000-of-00002", range(10)),
        ("train-00001-of-00002", range(10, 20)),
    ):
        write(arrow, parquet, folder / "data" / f"{name}.parquet", rows, features, column)
    write(arrow, parquet, folder / "data" / f"{part}-0.parquet", range(20, 30), features, column)
    return folder


def write(arrow: Any, parquet: Any, file: Path, rows: range, features: Any, column: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": encoded(COLOUR[i]), "path": f"{i}.png"} for i in rows]
    table = arrow.table({column: images, "label": [int(LABELS[i]) for i in rows]})
    parquet.write_table(table.replace_schema_metadata({"huggingface": json.dumps(features)}), file)


@pytest.mark.parametrize(("part", "column"), [("test", "image"), ("validation", "img")])
def test_a_folder_of_parquet_files_is_read_in_order(tmp_path: Path, part: str, column: str) -> None:
    folder = hub_folder(tmp_path, part, column)
    train, test = from_parquet(folder, "train"), from_parquet(folder, "test")
    tensors = torch.from_numpy(COLOUR).permute(0, 3, 1, 2)
    assert torch.equal(train.images, tensors[:20]) and torch.equal(test.images, tensors[20:])
    assert train.labels.tolist() == LABELS[:20].tolist() and train.classes == ("a", "b", "c")
    assert train.digest != from_parquet(folder, "train", size=4).digest != test.digest
    with pytest.raises(DataError, match="no parquet files"):
        from_parquet(folder / "nowhere", "train")
    with pytest.raises(DataError, match="cannot be read"):
        from_parquet(folder, "train", image="pixels")


def test_without_pyarrow_the_message_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "train.parquet").touch()
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingDependencyError, match=r"nasbench-snas\[parquet\]"):
        from_parquet(tmp_path, "train")


def test_test_images_are_set_apart_by_a_fixed_seed_and_no_search_sees_them() -> None:
    data = settings(Mine())
    train, test = load_part(data, "train"), load_part(data, "test")
    assert (len(train), len(test)) == (24, 6)
    assert torch.bincount(test.labels).tolist() == [2, 2, 2]
    together = torch.cat([train.images, test.images]).flatten(1)
    assert torch.equal(together.unique(dim=0), torch.from_numpy(GREY).flatten(1).unique(dim=0))
    again = load_part(settings(Mine()), "test")
    assert torch.equal(again.images, test.images)
    splits = [load_splits(data, seed) for seed in (0, 1)]
    assert all(s.train.images.shape[0] == 24 for s in splits)


def test_the_fingerprint_is_of_what_changes_training() -> None:
    def content(plugin: ImageDataset) -> str | None:
        return with_content(settings(plugin), ("train",)).content

    other = GREY.copy()
    other[3, 2, 1] ^= 1
    flipping = type("Flipping", (Mine,), {"flip": True})
    contents = [
        content(plugin)
        for plugin in (
            Mine(),
            Mine(other),
            Mine(labels=(LABELS + 1) % 3),
            Mine(names=("a", "b", "c")),
            flipping(),
        )
    ]
    assert len(set(contents)) == len(contents)
    assert content(Mine()) == contents[0]
    identity = with_content(settings(Mine()), ("train",)).identity()
    assert identity["content"] == contents[0] and "parameters" not in identity
    planned = with_content(settings(Mine()), ("train",))
    with pytest.raises(DataError, match="are not the run's"):
        load_part(planned.with_own(OwnImages(Mine(other)), {}), "train")


def test_images_are_read_once() -> None:
    plugin = Mine()
    data = with_content(settings(plugin), ("train", "test"))
    load_splits(data, 0)
    load_part(data, "test")
    assert plugin.asked == 1


def test_parts_that_do_not_fit_each_other_are_refused() -> None:
    train = from_arrays(GREY, LABELS, ("a", "b", "c"))
    names = from_arrays(GREY, LABELS, ("a", "c", "b"))
    colour = from_arrays(COLOUR, LABELS)
    for test, said in ((names, "classes"), (colour, "channels"), (None, "test_fraction")):
        with pytest.raises(DataError, match=said):
            load_part(settings(Apart(train, test)), "test")
    assert len(load_part(settings(Apart(train, train)), "test")) == 30
    wide = Apart(from_arrays(GREY[:, :4], LABELS), train)
    with pytest.raises(ConfigError, match="square"):
        load_part(settings(wide), "train")
    assert load_part(settings(wide, resolution=5), "train").images.shape[2:] == (5, 5)


def test_a_torch_data_set_and_plain_images_may_be_returned_as_they_are() -> None:
    items = [(torch.from_numpy(one)[None], int(y)) for one, y in zip(GREY, LABELS, strict=True)]
    plain = Images(GREY[:, None], LABELS)
    one, other = (
        load_part(settings(Apart(x, x)), "train").images for x in (items_set(items), plain)
    )
    assert torch.equal(one, other)


def items_set(items: list[Any]) -> Any:
    class Set(torch.utils.data.Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return len(items)

        def __getitem__(self, position: int) -> Any:
            return items[position]

    return Set()


def test_a_name_that_is_nowhere_is_an_error_that_says_how_to_give_it() -> None:
    unknown = DataSettings(dataset="mnist")
    with pytest.raises(PluginError, match="--plugin"):
        load_part(unknown, "train")
    with pytest.raises(PluginError, match="unknown dataset 'mnist'"):
        bound(unknown, Registry())
    with pytest.raises(ConfigError, match="built in"):
        bound(DataSettings(parameters={"count": 3}), Registry())
    assert unknown.declared_sizes is None  # listing needs no plug-in


def test_a_plug_in_that_fails_or_has_a_taken_name_is_named(tmp_path: Path) -> None:
    class Lost(Mine):
        def load(self, part: Any, root: Path) -> Any:
            return np.load(root / "nowhere.npz")

    with pytest.raises(DataError, match=r"data set 'mine': load\('train'\) failed: FileNotFound"):
        load_part(settings(Lost()), "train")
    (tmp_path / "nowhere.npz").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(DataError, match="failed: BadZipFile"):
        load_part(settings(Lost(), root=tmp_path), "train")
    file = tmp_path / "taken.py"
    source = "from nasbench_snas.api import ImageDataset\n\nclass Digits(ImageDataset):\n"
    file.write_text(f'{source}    name = "digits"\n    summary = "others"\n')
    with pytest.raises(PluginError, match="defined more than once"):
        bound(DataSettings(), Registry(plugins=[str(file)]))


def test_what_is_declared_is_known_before_and_held_to() -> None:
    declared = type("Declared", (Mine,), {"shape": (1, 6, 6), "classes": 3})
    assert settings(declared()).declared_sizes == (1, 3, 6)
    assert settings(declared(), resolution=4).declared_sizes == (1, 3, 4)
    assert settings(Mine()).declared_sizes is None
    assert len(load_part(settings(declared()), "train")) == 24
    for wrong in ({"shape": (3, 6, 6)}, {"classes": 2}):
        with pytest.raises(DataError, match="declares"):
            load_part(settings(type("Wrong", (Mine,), wrong)()), "train")


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([(torch.zeros(1, 4, 4, dtype=torch.uint8), 0.7)], "label 0.7"),
        ([(torch.zeros(1, 4, 4, dtype=torch.uint8), "cat")], "label cat"),
        ([(torch.zeros(1, 4, 4, dtype=torch.uint8), torch.tensor([0, 1]))], "label tensor"),
        ([(torch.zeros(1, 4, 4, dtype=torch.uint8), 0, 0)], "no pair"),
        ([{"image": 0, "label": 0}], "no pair"),
    ],
)
def test_items_that_are_no_image_with_its_class_are_refused(items: list[Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        from_torch(items_set(items))


@pytest.mark.parametrize(
    ("labels", "names", "fraction", "said"),
    [
        (np.arange(30) % 3 * 10**9, None, 0.2, "makes 2000000001 classes"),
        (np.full(30, 2**64 - 1, dtype=np.uint64), None, 0.2, "labels are uint64"),
        (np.arange(30) % 3, ["a", "b", "a"], 0.2, "called 'a'"),
        (np.arange(30) % 3, None, float("nan"), "test_fraction"),
        (np.arange(30) % 3, None, "0.2", "test_fraction"),
    ],
)
def test_classes_and_shares_that_cannot_be_are_refused(
    labels: Any, names: Any, fraction: Any, said: str
) -> None:
    class Odd(Mine):
        name = "odd"
        test_fraction = fraction

        def load(self, part: str, root: Path) -> Images:
            return from_arrays(np.zeros((30, 4, 4), dtype=np.uint8), labels, names)

    with pytest.raises(DataError, match=said):
        OwnImages(Odd()).images(Path(), "train")


def test_images_of_several_sizes_are_refused_in_words() -> None:
    ragged = [np.zeros((4, 4), dtype=np.uint8), np.zeros((5, 5), dtype=np.uint8)]
    with pytest.raises(DataError, match="no array"):
        from_arrays(ragged, [0, 1])
