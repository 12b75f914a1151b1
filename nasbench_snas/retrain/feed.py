"""Images of a retraining: held on the device, held by the host, or decoded when needed.

All three give the same kind of batches, in an order and with an augmentation that can be taken up
again bit for bit, whatever is prepared ahead and however many processes share a batch. Images left
over at the end of an epoch are skipped (the next epoch has another order); the released codes train
on a smaller last batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor

from nasbench_snas.compute.distributed import World
from nasbench_snas.data import evaluation_batches, load_test, load_training, make_augmenter
from nasbench_snas.data.batches import Batch, stream_of
from nasbench_snas.data.shards import ShardAugment, ShardedStream, move
from nasbench_snas.data.splits import Split
from nasbench_snas.errors import ConfigError
from nasbench_snas.seeding import stream
from nasbench_snas.settings.retrain import RetrainConfig, SpeedSettings

_SHARE_OF_MEMORY = 0.25


class Stream(Protocol):
    """Endless training batches whose position can be stored."""

    def __len__(self) -> int:
        """Return the number of batches in one epoch."""

    @property
    def position(self) -> int:
        """Number of batches of the current epoch handed out so far."""

    def next_batch(self) -> Batch:
        """Return the own rows of the next batch, on the device."""

    def state_dict(self) -> dict[str, Any]:
        """Return the position."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a position."""


class Feed(Protocol):
    """What a retraining sees.

    Attributes:
        shape: Channels, height and width of an image.
        num_classes: Classes.
        train: Training batches.
        note: Where the images are.
        fingerprint: Hash of the training and test labels (and files).
        test_images: Number of test images.
    """

    shape: tuple[int, int, int]
    num_classes: int
    train: Stream
    note: str
    fingerprint: str
    test_images: int

    def test_batches(self) -> Iterator[Batch]:
        """Yield this process's share of the test batches, normalised, on the device."""


def make_feed(
    config: RetrainConfig,
    device: torch.device,
    world: World,
    *,
    dtype: torch.dtype = torch.float32,
) -> Feed:
    """Return the images that ``config`` asks for.

    Raises:
        DataError: They are missing or damaged.
        ConfigError: They do not fit the settings.
    """
    if config.data.lazy:
        return LazyFeed(config, device, world)
    return MemoryFeed(config, device, world, dtype)


class MemoryFeed:
    """Images held in memory as uint8, on the device or by the host; see :class:`Feed`."""

    def __init__(
        self, config: RetrainConfig, device: torch.device, world: World, dtype: torch.dtype
    ) -> None:
        training, statistics, self.num_classes = load_training(config.data)
        test = load_test(config.data)
        self.shape = _shape(training)
        if _shape(test) != self.shape:
            raise ConfigError(
                f"test images have shape {_shape(test)}, training images {self.shape}.",
                fix="Set data.resolution.",
            )
        self._augment = make_augmenter(
            config.data,
            statistics,
            self.shape,
            dtype=dtype,
            channels_last=config.speed.channels_last,
        )
        content = hashlib.blake2b(str(self.shape).encode(), digest_size=16)
        for split in (training, test):
            content.update(split.labels.numpy().tobytes())
        self.fingerprint = content.hexdigest()
        fits = images_fit(config.speed, training, test, device)
        if fits:
            training, test = on_device(training, device), on_device(test, device)
        self.note = f"images held by the {'device' if fits else 'host'}"
        size = config.training.batch_size
        rows = world.rows(size)
        whole = stream_of(
            training,
            size,
            stream(config.seed, "data-order"),
            ShardAugment(self._augment, rows, device),
            augment_generator=stream(config.seed, "data-augment"),
        )
        self.train: Stream = ShardedStream(whole, rows, device)
        if not fits and config.speed.prefetch:
            self.train = Prefetched(self.train, device)
        self._test, self._device, self._world = test, device, world
        self.test_images = len(test)
        self._eval_size = config.training.eval_batch_size

    def test_batches(self) -> Iterator[Batch]:
        """Yield this process's share of the test batches; see :class:`Feed`."""
        batches = evaluation_batches(self._test, self._eval_size)
        for number, (images, labels) in enumerate(batches):
            if number % self._world.size == self._world.rank:
                plain = self._augment.plain(move(images, self._device))
                yield plain, move(labels, self._device)


class LazyFeed:
    """Image files decoded when needed (ImageNet); see :class:`Feed`."""

    def __init__(self, config: RetrainConfig, device: torch.device, world: World) -> None:
        from nasbench_snas.data.lazy import RESOLUTION, LazyStream, load_lazy

        data = config.data
        if data.max_train_images is not None or data.max_test_images is not None:
            raise ConfigError(
                "data.max_train_images and data.max_test_images do not apply to lazy images.",
                fix="Unset them, or set data.lazy = false.",
            )
        training, self._test = load_lazy(data, "train"), load_lazy(data, "test")
        self.num_classes = len(training.class_names)
        side = data.resolution or RESOLUTION
        self.shape = (3, side, side)
        self.note = f"images decoded when needed ({data.workers} workers)"
        self.fingerprint = f"{training.digest()}/{self._test.digest()}"
        size = config.training.batch_size
        lazy = LazyStream(
            training,
            size,
            stream(config.seed, "data-order"),
            workers=data.workers,
            rows=world.rows(size),
        )
        self.train: Stream = _Moved(lazy, device, config.speed.channels_last)
        if config.speed.prefetch:
            self.train = Prefetched(self.train, device)
        self._device, self._world, self._workers = device, world, data.workers
        self.test_images = len(self._test)
        self._eval_size = config.training.eval_batch_size
        self._channels_last = config.speed.channels_last

    def test_batches(self) -> Iterator[Batch]:
        """Yield this process's share of the test batches; see :class:`Feed`."""
        from nasbench_snas.data.lazy import build_loader

        items = [(position, 0) for position in range(len(self._test))]
        size, world = self._eval_size, self._world
        batches = [items[start : start + size] for start in range(0, len(items), size)]
        own = batches[world.rank :: world.size]
        generator = torch.Generator().manual_seed(0)
        for batch in build_loader(self._test, own, generator, workers=self._workers):
            yield placed(batch, self._device, self._channels_last)


class _Moved:
    """A lazy stream whose batches go to the device; epochs follow each other."""

    def __init__(self, stream: Any, device: torch.device, channels_last: bool) -> None:
        self._stream, self._device, self._channels_last = stream, device, channels_last
        self._iterator: Iterator[Batch] | None = None

    def __len__(self) -> int:
        return len(self._stream)

    @property
    def position(self) -> int:
        return int(self._stream.position)

    def next_batch(self) -> Batch:
        if self._iterator is None or self.position >= len(self):
            begins = self.position >= len(self)
            self._iterator = self._stream.epoch_batches(self._stream.epoch + int(begins))
        return placed(next(self._iterator), self._device, self._channels_last)

    def state_dict(self) -> dict[str, Any]:
        return dict(self._stream.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._iterator = None
        self._stream.load_state_dict(state)


class Prefetched:
    """Prepares the next batch of an epoch when one is handed out, so that the device need not wait.

    On a GPU it does so on a CUDA stream of its own, so that copies from pinned memory and
    augmentation overlap with the training step on the batch before. The stored position is always
    that of the batches handed out.

    Args:
        stream: What is read ahead by one batch, never beyond the end of an epoch.
        device: Where its batches are.
    """

    def __init__(self, stream: Stream, device: torch.device) -> None:
        self._stream = stream
        self._device = device
        self._lane = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._ready: Batch | None = None
        self._state = stream.state_dict()
        self._given = stream.position

    def __len__(self) -> int:
        """Return the number of batches in one epoch."""
        return len(self._stream)

    @property
    def position(self) -> int:
        """Number of batches of the current epoch handed out so far."""
        return self._given

    def next_batch(self) -> Batch:
        """Return the next batch, and prepare the one after it."""
        batch = self._read() if self._ready is None else self._ready
        if self._lane is not None:
            training = torch.cuda.current_stream(self._device)
            training.wait_stream(self._lane)  # for this batch, not for the one read next
            for tensor in batch:
                tensor.record_stream(training)
        self._given = self._given % len(self) + 1
        self._state, self._ready = self._stream.state_dict(), None
        if self._given < len(self):
            self._ready = self._read()
        return batch

    def _read(self) -> Batch:
        with torch.cuda.stream(self._lane):  # no effect without a lane
            return self._stream.next_batch()

    def state_dict(self) -> dict[str, Any]:
        """Return the position behind the last batch handed out."""
        return self._state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the position of ``state``."""
        self._stream.load_state_dict(state)
        self._state, self._ready = self._stream.state_dict(), None
        self._given = self._stream.position


def placed(batch: Batch, device: torch.device, channels_last: bool) -> Batch:
    """Return a batch on ``device``, copied without waiting where its memory is pinned."""
    images, labels = batch
    layout = torch.channels_last if channels_last else torch.contiguous_format
    images = images.to(device, non_blocking=True).contiguous(memory_format=layout)
    return images, labels.to(device, non_blocking=True)


def images_fit(speed: SpeedSettings, training: Split, test: Split, device: torch.device) -> bool:
    """Whether images go to the device: as set, or if they take a quarter of its free memory."""
    if speed.placement != "auto":
        return speed.placement == "device"
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    needed = sum(s.images.numel() * s.images.element_size() for s in (training, test))
    return needed <= _SHARE_OF_MEMORY * free


def on_device(split: Split, device: torch.device) -> Split:
    """Return the same images and labels on ``device``."""
    images: Tensor = split.images.to(device)
    return Split(split.name, split.part, images, split.labels.to(device), split.indices)


def _shape(split: Split) -> tuple[int, int, int]:
    channels, height, width = split.images.shape[1:]
    return channels, height, width
