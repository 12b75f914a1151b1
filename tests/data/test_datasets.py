from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from nasbench_snas.data import cache, cifar, list_datasets, prepare, verify
from nasbench_snas.data.catalogue import CATALOGUE
from nasbench_snas.data.images import ImageSet, resize
from nasbench_snas.data.loaders import get_loader
from nasbench_snas.data.registry import load_part
from nasbench_snas.data.settings import AugmentSettings, DataSettings, FakeSettings
from nasbench_snas.data.splits import load_splits
from nasbench_snas.data.statistics import measure, statistics_for
from nasbench_snas.errors import ConfigError, DataError

# settings and catalogue


def test_catalogue_and_settings_import_no_torch() -> None:
    code = (
        "import sys; from nasbench_snas.data import list_datasets, DataSettings;"
        "print([d.name for d in list_datasets()]); DataSettings();"
        "sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'sklearn', 'torchvision')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "'digits', 'cifar10', 'cifar100', 'imagefolder', 'fake'" in done.stdout


def test_every_public_name_can_be_imported_twice() -> None:
    import nasbench_snas.data as package

    for _ in range(2):
        for name in package.__all__:
            found = getattr(package, name, None) or import_module(f"{package.__name__}.{name}")
            is_module = isinstance(found, type(sys))
            assert is_module == (Path(package.__file__).parent / f"{name}.py").is_file(), name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = package.nothing


def test_every_setting_is_described_and_nothing_else_is_accepted() -> None:
    for model in (DataSettings, AugmentSettings, FakeSettings):
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name}"
    with pytest.raises(ValidationError, match="Extra inputs"):
        DataSettings.model_validate({"datasets": "digits"})
    with pytest.raises(ValidationError, match="frozen"):
        DataSettings().resolution = 8  # type: ignore[misc]


@pytest.mark.parametrize(
    "wrong",
    [
        {"dataset": ""},
        {"lazy": True},
        {"validation_fraction": 1.0},
        {"train_fraction": 0.0},
        {"augment": {"mean": [0.5]}},
        {"augment": {"mean": [0.5], "std": [0.0]}},
        {"augment": {"mean": [0.5], "std": [0.1, 0.1]}},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DataSettings.model_validate(wrong)


def test_settings_survive_json() -> None:
    values = {"dataset": "imagefolder", "root": Path("somewhere")}
    augment = {"cutout": 16, "mean": [0.5], "std": [1]}
    settings = DataSettings.model_validate({**values, "augment": augment})
    assert DataSettings.model_validate_json(settings.model_dump_json()) == settings


def test_the_root_is_the_variable_or_data_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NASBENCH_DATA", "/elsewhere")
    assert DataSettings().data_root == Path("/elsewhere")
    assert DataSettings(root=Path("here")).data_root == Path("here")
    monkeypatch.delenv("NASBENCH_DATA")
    assert DataSettings().data_root == Path("data")


def test_every_loader_of_the_catalogue_exists() -> None:
    assert [info.name for info in list_datasets()] == list(CATALOGUE)
    for name, info in CATALOGUE.items():
        assert callable(get_loader(name)) and info.licence and info.source and info.name == name
    with pytest.raises(ConfigError, match="Did you mean 'cifar10'"):
        get_loader("cifer10")


# digits and fake


def test_digits_are_scikit_learns_scaled_to_bytes_and_split_for_good() -> None:
    from sklearn.datasets import load_digits

    train, test = (load_part(DataSettings(), part) for part in ("train", "test"))
    assert (len(train), len(test)) == (1437, 360) and train.images.shape[1:] == (1, 8, 8)
    pixels = torch.cat([train.images, test.images]).flatten(1)
    expected = np.rint(load_digits().data * 255 / 16)
    assert sorted(map(tuple, pixels.tolist())) == sorted(map(tuple, expected.tolist()))
    shares = torch.bincount(test.labels).tolist()
    assert shares == [36, 37, 35, 37, 36, 36, 36, 36, 35, 36]
    # the rule and its seed are documented: another choice of images is another data set
    assert cache.digest(test.images) == DIGITS_TEST
    assert test.class_names == tuple("0123456789")


DIGITS_TEST = "7b5054c1bab951e64f3b288ccaa7d7b8"


def test_fake_images_depend_on_the_seed_alone_and_their_classes_can_be_learnt() -> None:
    settings = DataSettings.model_validate({"dataset": "fake", "fake": {"train_images": 300}})
    train, again = load_part(settings, "train"), load_part(settings, "train")
    assert torch.equal(train.images, again.images) and torch.equal(train.labels, again.labels)
    other = settings.model_copy(update={"fake": FakeSettings(seed=1, train_images=300)})
    assert not torch.equal(train.images, load_part(other, "train").images)
    test = load_part(settings, "test")

    def accuracy(labels: torch.Tensor) -> float:
        pixels = train.images.float().flatten(1)
        means = torch.stack([pixels[labels == c].mean(0) for c in range(10)])
        nearest = torch.cdist(test.images.float().flatten(1), means).argmin(1)
        return float((nearest == test.labels).float().mean())

    assert accuracy(train.labels) > 0.95
    assert accuracy(train.labels[torch.randperm(300, generator=torch.Generator())]) < 0.5


# what every data set is


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(2, 3, 4, 4), torch.tensor([0, 1]), "float32"),
        (torch.zeros(2, 3, 4, dtype=torch.uint8), torch.tensor([0, 1]), "shape"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.tensor([0, 2]), "0 to 2"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.tensor([0]), "labels"),
        (torch.zeros(0, 3, 4, 4, dtype=torch.uint8), torch.zeros(0).long(), "none"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(
    images: torch.Tensor, labels: torch.Tensor, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        ImageSet("x", "train", images, labels, ("a", "b"), "", "")


def test_resizing_antialiases_keeps_proportions_and_stays_bytes() -> None:
    stripes = torch.zeros(2, 1, 16, 16, dtype=torch.uint8)
    stripes[..., 0::4] = stripes[..., 3::4] = 200
    small = resize(stripes, 4)
    assert small.shape == (2, 1, 4, 4) and small.dtype == torch.uint8
    assert (
        small[..., 1:3].int() - 100
    ).abs().max() < 40  # bilinear alone sees only the middle two pixels: 0
    wide = torch.zeros(3, 8, 24, dtype=torch.uint8)
    wide[:, :, 8:16] = 255
    assert (resize(wide, 8) == 255).all()  # the middle is kept
    assert resize(stripes, 16) is stripes
    many = torch.arange(5000, dtype=torch.int64).remainder(256).to(torch.uint8)
    block = many.view(-1, 1, 1, 1).expand(-1, 1, 8, 8)
    assert torch.equal(resize(block, 4)[:, 0, 0, 0], many)


def test_statistics_are_exact_and_of_the_training_split_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (50, 3, 5, 5), dtype=torch.uint8, generator=generator)
    some = torch.arange(10, 40)
    found = measure(images, some)
    pixels = images[some].double() / 255
    torch.testing.assert_close(torch.tensor(found.mean), pixels.mean((0, 2, 3)).float())
    std = pixels.var((0, 2, 3), correction=0).sqrt().float()
    torch.testing.assert_close(torch.tensor(found.std), std)
    splits = load_splits(DataSettings(dataset="fake"), 0)
    assert splits.statistics == measure(splits.train.images, splits.train.indices)
    assert measure(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.arange(2)).std == (1.0,)


def test_chosen_statistics_win_and_must_fit_the_channels() -> None:
    images, few = torch.zeros(4, 3, 32, 32, dtype=torch.uint8), torch.arange(2)
    known = statistics_for(DataSettings(dataset="cifar10"), images, few)
    assert known.origin == "known" and abs(known.mean[0] - 0.4914) < 1e-4
    resized = statistics_for(DataSettings(dataset="cifar10"), images[..., :16, :16], few)
    assert resized.origin == "training split"
    chosen = {"mean": [0.1, 0.2, 0.3], "std": [1, 1, 1]}
    settings = DataSettings.model_validate({"dataset": "cifar10", "augment": chosen})
    assert statistics_for(settings, images, few).mean == (0.1, 0.2, 0.3)
    with pytest.raises(ConfigError, match="1 channels"):
        statistics_for(settings, images[:, :1], few)


# CIFAR


@pytest.mark.parametrize(("name", "count"), [("cifar10", 500), ("cifar100", 100)])
def test_cifar_is_read_in_torchvisions_format(
    small_cifar: Callable[[str], Path], name: str, count: int
) -> None:
    root = small_cifar(name)
    settings = DataSettings.model_validate({"dataset": name})
    train, test = load_part(settings, "train"), load_part(settings, "test")
    assert train.images.shape == (count, 3, 32, 32) and len(test) == 100
    assert train.num_classes == CATALOGUE[name].classes
    raw = np.random.default_rng(0).integers(0, 256, (100, 3072), dtype=np.uint8)
    assert np.array_equal(train.images[:100].numpy(), raw.reshape(100, 3, 32, 32))
    assert load_splits(settings, 0).statistics.origin == "known"
    assert load_part(settings.model_copy(update={"resolution": 16}), "test").images.shape[-1] == 16
    report = verify(settings)
    assert report.root == str(root) and not report.ok  # whole files, but too few images
    assert [c.name for c in report.checks if not c.ok] == ["train images", "test images"]
    assert f"expected {CATALOGUE[name].train_images}" in report.checks[-2].detail


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_missing_cifar_names_the_exact_command(name: str, tmp_path: Path) -> None:
    settings = DataSettings.model_validate({"dataset": name, "root": tmp_path})
    command = f"nasbench data prepare {name} --root {tmp_path}"
    with pytest.raises(DataError) as caught:
        load_splits(settings, 0)
    assert caught.value.fix == f"run: {command}" and "does not exist" in caught.value.what
    report = verify(settings)
    assert not report.ok and command in report.fix


def test_damaged_cifar_is_told_from_missing(small_cifar: Callable[[str], Path]) -> None:
    root = small_cifar("cifar10")
    file = root / "cifar-10-batches-py" / "data_batch_3"
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes(content)
    settings = DataSettings(dataset="cifar10")
    with pytest.raises(DataError, match="damaged"):
        load_part(settings, "train")
    bad = [check for check in verify(settings).checks if not check.ok]
    assert [check.name for check in bad] == ["data_batch_3"] and "MD5" in bad[0].detail


def test_preparing_without_a_network_fails_clearly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = "http://127.0.0.1:9/cifar-10-python.tar.gz"
    monkeypatch.setattr(cifar.reader("cifar10"), "url", dead)
    with pytest.raises(DataError) as caught:
        prepare("cifar10", tmp_path)
    assert "could not be fetched" in caught.value.what and dead in caught.value.why
    assert "internet" in caught.value.fix and caught.value.exit_code == 3


def test_preparing_what_needs_no_fetching_says_so(tmp_path: Path) -> None:
    assert "nothing to fetch" in prepare("digits", tmp_path)
    with pytest.raises(DataError, match="train"):
        prepare("imagefolder", tmp_path)
    with pytest.raises(ConfigError, match="Did you mean"):
        prepare("digit", tmp_path)
