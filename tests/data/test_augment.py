from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nasbench_snas.data.augment import Augmenter, Draw, make_augmenter
from nasbench_snas.data.settings import DataSettings
from nasbench_snas.data.statistics import Statistics
from nasbench_snas.errors import ConfigError

STATISTICS = Statistics((0.4, 0.5, 0.3), (0.2, 0.25, 0.3), "settings")


def photos(batch: int = 7, height: int = 10, width: int = 8, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    shape = (batch, channels, height, width)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def one_by_one(images: Tensor, draw: Draw, augmenter: Augmenter) -> Tensor:
    """Reference: pixel by pixel, in double precision."""
    batch, channels, height, width = images.shape
    result = torch.zeros(images.shape, dtype=torch.float64)
    pad, half = augmenter.pad, augmenter.cutout // 2
    for b in range(batch):
        top, left = int(draw.rows[b]), int(draw.columns[b])
        row, column = draw.centres[b].tolist()
        for i in range(height):
            for j in range(width):
                inside = (
                    row - half <= i < row - half + augmenter.cutout
                    and column - half <= j < column - half + augmenter.cutout
                )
                source_i = i + top - pad
                source_j = (width - 1 - j if draw.mirror[b] else j) + left - pad
                visible = 0 <= source_i < height and 0 <= source_j < width
                for c in range(channels):
                    value = int(images[b, c, source_i, source_j]) / 255 if visible else 0.0
                    if augmenter.statistics is not None:
                        mean, std = augmenter.statistics.mean[c], augmenter.statistics.std[c]
                        value = (value - mean) / std
                    result[b, c, i, j] = 0.0 if inside else value
    return result


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-12), (torch.float32, 2e-6), (torch.bfloat16, 2e-2)],
)
@pytest.mark.parametrize("cutout", [0, 3, 4])
@pytest.mark.parametrize(("pad", "flip"), [(0, False), (2, False), (0, True), (3, True)])
def test_a_batch_equals_its_images_treated_pixel_by_pixel(
    pad: int, flip: bool, cutout: int, dtype: torch.dtype, tolerance: float, channels_last: bool
) -> None:
    images = photos()
    augmenter = Augmenter(
        STATISTICS, pad=pad, flip=flip, cutout=cutout, dtype=dtype, channels_last=channels_last
    )
    draw = augmenter.draw(7, 10, 8, torch.Generator().manual_seed(2))
    result = augmenter.apply(images, draw)
    expected = one_by_one(images, draw, augmenter)
    assert result.dtype == dtype
    layout = torch.channels_last if channels_last else torch.contiguous_format
    assert result.is_contiguous(memory_format=layout)
    torch.testing.assert_close(result.double(), expected, rtol=tolerance, atol=tolerance)


def test_scaling_without_statistics_gives_numbers_from_zero_to_one() -> None:
    images = photos()
    images[0, 0, 0, :2] = torch.tensor([0, 255], dtype=torch.uint8)
    plain = Augmenter(None).plain(images)
    assert float(plain.min()) == 0.0 and float(plain.max()) == 1.0
    torch.testing.assert_close(plain, images / 255)


def test_plain_only_normalises_and_leaves_the_images_alone() -> None:
    images = photos()
    before = images.clone()
    augmenter = Augmenter(STATISTICS, pad=2, flip=True, cutout=4, dtype=torch.float64)
    mean = torch.tensor(STATISTICS.mean, dtype=torch.float64).view(3, 1, 1)
    std = torch.tensor(STATISTICS.std, dtype=torch.float64).view(3, 1, 1)
    torch.testing.assert_close(augmenter.plain(images), (images / 255.0).double().sub(mean) / std,
                               rtol=1e-6, atol=1e-6)  # fmt: skip
    augmenter(images, torch.Generator().manual_seed(0))
    assert torch.equal(images, before)


def test_draws_cover_every_offset_and_centre_and_mirror_half() -> None:
    augmenter = Augmenter(None, pad=2, flip=True, cutout=4)
    draw = augmenter.draw(20_000, 6, 5, torch.Generator().manual_seed(3))
    for values, count in [
        (draw.rows, 5),
        (draw.columns, 5),
        (draw.centres[:, 0], 6),
        (draw.centres[:, 1], 5),
        (draw.mirror.long(), 2),
    ]:
        counts = torch.bincount(values, minlength=count)
        assert len(counts) == count
        # each count is binomial: five standard deviations
        spread = 5 * (20_000 / count * (1 - 1 / count)) ** 0.5
        assert float((counts - 20_000 / count).abs().max()) < spread
    both = torch.bincount(draw.rows * 5 + draw.columns, minlength=25)
    assert float((both - 800).abs().max()) < 5 * (800 * 24 / 25) ** 0.5


def test_one_augmentation_switched_off_leaves_the_draws_of_the_others() -> None:
    full = Augmenter(None, pad=2, flip=True, cutout=4)
    less = Augmenter(None, pad=2, flip=False, cutout=0)
    one, other = (a.draw(9, 6, 6, torch.Generator().manual_seed(4)) for a in (full, less))
    assert torch.equal(one.rows, other.rows) and torch.equal(one.columns, other.columns)
    assert one.mirror.any() and not other.mirror.any()


def test_the_same_generator_state_gives_the_same_images(still_generators: None) -> None:
    augmenter = Augmenter(STATISTICS, pad=2, flip=True, cutout=4)
    generator = torch.Generator().manual_seed(5)
    state = generator.get_state()
    first, second = augmenter(photos(), generator), augmenter(photos(), generator)
    assert not torch.equal(first, second)
    generator.set_state(state)
    assert torch.equal(augmenter(photos(), generator), first)


def test_grey_images_and_single_images_work() -> None:
    augmenter = Augmenter(
        Statistics((0.5,), (0.25,), "settings"), pad=1, flip=True, channels_last=True
    )
    result = augmenter(photos(1, 8, 8, 1), torch.Generator().manual_seed(0))
    assert result.shape == (1, 1, 8, 8)


def test_pixels_that_are_no_uint8_are_refused() -> None:
    with pytest.raises(ConfigError, match="uint8"):
        Augmenter(None, pad=1)(photos().float(), torch.Generator())
    with pytest.raises(ConfigError, match="floating"):
        Augmenter(None, dtype=torch.int32)


@pytest.mark.parametrize(
    ("changes", "size", "pad", "flip"),
    [
        ({"dataset": "cifar10"}, 32, 4, True),
        ({"dataset": "imagefolder"}, 16, 2, True),
        ({"dataset": "digits"}, 8, 1, False),
        ({"dataset": "digits", "augment": {"pad": 0, "flip": True}}, 8, 0, True),
    ],
)
def test_unset_augmentation_depends_on_the_data_set(
    changes: dict[str, object], size: int, pad: int, flip: bool
) -> None:
    settings = DataSettings.model_validate(changes)
    augmenter = make_augmenter(settings, STATISTICS, (3, size, size))
    assert (augmenter.pad, augmenter.flip, augmenter.cutout) == (pad, flip, 0)
    assert augmenter.statistics is STATISTICS


def test_normalising_can_be_switched_off() -> None:
    settings = DataSettings.model_validate({"augment": {"normalise": False, "cutout": 3}})
    augmenter = make_augmenter(settings, STATISTICS, (3, 8, 8))
    assert augmenter.statistics is None and augmenter.cutout == 3


@pytest.mark.parametrize(("size", "cutout"), [(32, 16), (28, 14), (16, 8), (64, 16)])
def test_a_cutout_hides_at_most_half_of_the_side(
    size: int, cutout: int, caplog: pytest.LogCaptureFixture
) -> None:
    settings = DataSettings.model_validate({"augment": {"cutout": 16}})
    assert make_augmenter(settings, STATISTICS, (3, size, size)).cutout == cutout
    assert ("half of the image side" in caplog.text) == (cutout < 16)


@pytest.mark.gpu
def test_a_cpu_generator_gives_the_same_images_on_a_gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    augmenter = Augmenter(STATISTICS, pad=2, flip=True, cutout=4, dtype=torch.float64)
    here = augmenter(photos(), torch.Generator().manual_seed(6))
    there = augmenter(photos().cuda(), torch.Generator().manual_seed(6))
    torch.testing.assert_close(here, there.cpu())


def test_a_draw_goes_to_another_device_in_one_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    augmenter = Augmenter(STATISTICS, pad=2, flip=True, cutout=3)
    draw = augmenter.draw(5, 10, 8, torch.Generator().manual_seed(0))
    assert draw.to(torch.device("cpu")) is draw
    copies: list[Tensor] = []
    move = Tensor.to

    def counted(tensor: Tensor, *arguments: object, **options: object) -> Tensor:
        copies.append(tensor)
        return move(tensor, "cpu", copy=True)  # type: ignore[no-any-return]

    monkeypatch.setattr(Tensor, "to", counted)
    moved = draw.to(torch.device("meta"))
    assert len(copies) == 1
    for name in ("rows", "columns", "mirror", "centres"):
        one, other = getattr(draw, name), getattr(moved, name)
        assert torch.equal(one, other) and one.dtype == other.dtype
