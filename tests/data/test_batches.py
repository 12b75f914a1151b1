from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nasbench_snas.data.augment import Augmenter
from nasbench_snas.data.batches import Batch, BatchStream, evaluation_batches, stream_of
from nasbench_snas.data.settings import DataSettings
from nasbench_snas.data.splits import Split, load_splits
from nasbench_snas.errors import CheckpointError, ConfigError

AUGMENTER = Augmenter(None, pad=1, flip=True, cutout=2)
COUNT = 30


def numbered(images: int = 40) -> tuple[Tensor, Tensor]:
    """Images whose label is their number, and whose pixels differ."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (images, 3, 6, 6), dtype=torch.uint8, generator=generator)
    return pixels, torch.arange(images)


def make(seed: int = 0, size: int = 7, shared: bool = False, **options: Any) -> BatchStream:
    images, labels = numbered()
    options.setdefault("augment", AUGMENTER)
    own = None if shared else torch.Generator().manual_seed(seed + 1000)
    generator = torch.Generator().manual_seed(seed)
    indices = torch.arange(5, 5 + COUNT)
    return BatchStream(images, labels, indices, size, generator, augment_generator=own, **options)


def same(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(one, other, strict=True)
    )


def stored(state: dict[str, Any]) -> dict[str, Any]:
    """Through a file, as a checkpoint does."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


@pytest.mark.parametrize("drop_last", [True, False])
def test_an_epoch_visits_every_image_once(drop_last: bool) -> None:
    stream = make(drop_last=drop_last, augment=None)
    images, _ = numbered()
    seen = []
    for batch, labels in stream.epoch_batches(1):
        assert torch.equal(batch, images[labels])
        seen += labels.tolist()
    assert len(set(seen)) == len(seen) == (28 if drop_last else 30)
    assert set(seen) <= set(range(5, 35))
    assert len(stream) == (4 if drop_last else 5)


def test_every_epoch_has_another_order() -> None:
    stream = make(size=30)
    first, second = ([y.tolist() for _, y in stream.epoch_batches(e)] for e in (1, 2))
    assert first != second and sorted(first[0]) == sorted(second[0]) != first[0]


def test_two_streams_of_one_seed_agree_and_of_two_seeds_do_not() -> None:
    one, other, third = (list(make(seed).epoch_batches(1)) for seed in (0, 0, 1))
    assert same(one, other) and not same(one, third)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize("stop", range(0, 12))
def test_resuming_after_any_batch_gives_the_same_batches_that_would_have_followed(
    stop: int, drop_last: bool, shared: bool
) -> None:
    stream = make(drop_last=drop_last, shared=shared)
    for _ in range(stop):
        stream.next_batch()
    state = stored(stream.state_dict())
    expected = [stream.next_batch() for _ in range(11)]
    resumed = make(seed=99, drop_last=drop_last, shared=shared)
    resumed.next_batch()
    resumed.load_state_dict(state)
    assert same([resumed.next_batch() for _ in range(11)], expected)
    assert (resumed.epoch, resumed.position) == (stream.epoch, stream.position)


def test_a_loop_over_epochs_resumes_in_the_middle_and_at_the_end_of_an_epoch() -> None:
    whole, stream = [], make()
    states = []
    for epoch in (1, 2, 3):
        for batch in stream.epoch_batches(epoch):
            whole.append(batch)
            states.append((epoch, stored(stream.state_dict())))
    for done, (epoch, state) in enumerate(states, start=1):
        resumed = make(seed=5)
        resumed.load_state_dict(state)
        rest = [batch for e in range(epoch, 4) for batch in resumed.epoch_batches(e)]
        assert same(rest, whole[done:]), f"after batch {done}"


def test_a_stored_state_does_not_change_when_the_stream_goes_on() -> None:
    stream = make()
    stream.next_batch()
    state = stream.state_dict()
    copy = stored(state)
    for _ in range(9):
        stream.next_batch()
    assert torch.equal(state["order"], copy["order"])
    assert torch.equal(state["generator"], copy["generator"])
    assert torch.equal(state["augment_generator"], copy["augment_generator"])


def test_a_finished_epoch_is_empty_and_no_epoch_can_be_skipped() -> None:
    stream = make()
    assert len(list(stream.epoch_batches(1))) == 4
    assert list(stream.epoch_batches(1)) == []
    with pytest.raises(ConfigError, match="epoch 3 was asked for"):
        next(stream.epoch_batches(3))
    next(stream.epoch_batches(2))
    with pytest.raises(ConfigError, match="epoch 2 is at batch 1 of 4"):
        next(stream.epoch_batches(3))


def test_next_batch_never_ends_and_counts_epochs() -> None:
    stream = make(size=30)
    for number in range(1, 6):
        assert sorted(stream.next_batch()[1].tolist()) == list(range(5, 35))
        assert stream.epoch == number


def test_a_batch_larger_than_the_split_is_refused_and_says_so() -> None:
    with pytest.raises(ConfigError, match="batch of 31 images is larger than the split.* 30"):
        make(size=31)
    with pytest.raises(ConfigError, match="at least 1"):
        make(size=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 8}, "batch_size 8"),
        ({"split": "other"}, "split 'other'"),
        ({"version": 0}, "version 0"),
        ({"position": 5}, "damaged"),
        ({"position": -1}, "damaged"),
        ({"order": torch.zeros(30, dtype=torch.int64)}, "damaged"),
        ({"order": torch.arange(29)}, "damaged"),
        ({"generator": None}, "damaged"),
        ({"augment_generator": None}, "damaged"),
    ],
)
def test_a_foreign_or_damaged_position_is_refused_and_nothing_changes(
    change: dict[str, Any], message: str
) -> None:
    stream = make()
    stream.next_batch()
    state = {**stream.state_dict(), **change}
    other = make(seed=3)
    expected = make(seed=3).next_batch()
    with pytest.raises(CheckpointError, match=message):
        other.load_state_dict(state)
    assert same([other.next_batch()], [expected])


def test_evaluation_is_in_order_complete_and_never_augmented(still_generators: None) -> None:
    images, labels = numbered()
    split = Split("search_valid", "train", images, labels, torch.arange(3, 20))
    for _ in range(2):
        batches = list(evaluation_batches(split, 5, AUGMENTER.plain))
        assert [len(y) for _, y in batches] == [5, 5, 5, 2]
        assert torch.cat([y for _, y in batches]).tolist() == list(range(3, 20))
        torch.testing.assert_close(torch.cat([x for x, _ in batches]), images[3:20] / 255)
    assert len(list(evaluation_batches(split, 100))) == 1


def test_nothing_in_data_loading_or_batches_moves_a_global_generator(
    still_generators: None, tmp_path: Path
) -> None:
    for name in ("digits", "fake"):
        splits = load_splits(DataSettings.model_validate({"dataset": name}), 0, bilevel=True)
        stream = stream_of(splits.train, 16, torch.Generator().manual_seed(0), AUGMENTER)
        list(stream.epoch_batches(1))
        stream.load_state_dict(stream.state_dict())
