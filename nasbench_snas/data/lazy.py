"""Large trees of image files, decoded when needed: retraining at 224x224.

Training follows the DARTS ImageNet recipe: random resized crop to 224, mirror, colour jitter
(brightness, contrast, saturation 0.4, hue 0.2), normalise. Evaluation: shorter side to 256, centre
crop 224, normalise. The constants are ImageNet's usual ones unless the settings give others.

torchvision's transforms know only the global generator. Here every image of every epoch has a seed
of its own, drawn from the passed generator; the transform runs inside a block that seeds the
global generator with it and puts the old state back. So what an image looks like depends neither on
the number of workers nor on their order, and the global generator does not move.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from nasbench_snas.data.fingerprint import check
from nasbench_snas.data.imagefolder import DECODE_ERRORS, Listing, list_part, rgb
from nasbench_snas.data.settings import DataSettings, Part
from nasbench_snas.data.statistics import Statistics
from nasbench_snas.errors import CheckpointError, ConfigError, DataError

IMAGENET = Statistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "known")
RESOLUTION = 224

Item = tuple[int, int]


def lazy_statistics(settings: DataSettings) -> Statistics:
    """Return the channel statistics of the settings, or ImageNet's."""
    chosen = settings.augment
    if chosen.mean is None or chosen.std is None:
        return IMAGENET
    return Statistics(chosen.mean, chosen.std, "settings")


def _normalising(settings: DataSettings) -> list[Any]:
    steps: list[Any] = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    if settings.augment.normalise:
        statistics = lazy_statistics(settings)
        steps.append(v2.Normalize(list(statistics.mean), list(statistics.std)))
    steps.append(v2.ToPureTensor())
    return steps


def training_transform(settings: DataSettings) -> Any:
    """Return the training transform: PIL image to float32 `(3, R, R)`, R = 224 if unset."""
    steps: list[Any] = [v2.RandomResizedCrop(settings.resolution or RESOLUTION, antialias=True)]
    if settings.augment.flip is not False:
        steps.append(v2.RandomHorizontalFlip())
    steps.append(v2.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.2))
    return v2.Compose([*steps, *_normalising(settings)])


def evaluation_transform(settings: DataSettings) -> Any:
    """Return the evaluation transform: resize to 8/7 R (256 for 224), centre crop R, normalise."""
    side = settings.resolution or RESOLUTION
    steps = [v2.Resize(round(side * 256 / 224), antialias=True), v2.CenterCrop(side)]
    return v2.Compose([*steps, *_normalising(settings)])


class LazyImages(Dataset[tuple[Tensor, int]]):
    """Image files as a map-style data set, indexed by ``(position, seed)``.

    Args:
        listing: The files.
        transform: Turns a PIL image into a tensor.
    """

    def __init__(self, listing: Listing, transform: Any) -> None:
        self.folder, self.files, self.labels = listing.folder, listing.files, listing.labels
        self.class_names = listing.class_names
        self.transform = transform

    def __len__(self) -> int:
        """Return the number of files."""
        return len(self.files)

    def digest(self) -> str:
        """Return a hash of the files' paths below their folder, in order."""
        content = hashlib.blake2b(digest_size=16)
        for file in self.files:
            content.update(f"{file.relative_to(self.folder).as_posix()}\n".encode())
        return content.hexdigest()

    def __getitem__(self, item: Item) -> tuple[Tensor, int]:
        """Return one image, float32 `(3, R, R)`, and its class number.

        Args:
            item: Position of the file, and the seed of its augmentation.

        Raises:
            DataError: The file is damaged; the message names it.
        """
        from PIL import Image

        position, seed = item
        path = self.files[position]
        try:
            with Image.open(path) as file:
                image = Image.fromarray(rgb(file, path))
        except (*DECODE_ERRORS, Image.DecompressionBombError) as error:
            raise DataError(
                f"imagefolder: {path} cannot be decoded: {error}",
                "expected a whole image file",
                "replace or remove the file",
            ) from error
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return self.transform(image), self.labels[position]


def load_lazy(settings: DataSettings, part: Part) -> LazyImages:
    """Return the files of one part, with the training or the evaluation transform.

    Raises:
        ConfigError: The settings do not say ``lazy``.
        DataError: The tree does not fit.
    """
    if not settings.lazy:
        raise ConfigError(
            "data.lazy is false", "load_lazy reads large imagefolder trees", "set data.lazy = true"
        )
    check(settings, part)
    listing = list_part(settings.data_root, part)
    make = training_transform if part == "train" else evaluation_transform
    return LazyImages(listing, make(settings))


def seed_worker(worker: int) -> None:
    """Give a worker process its own Python and NumPy seeds, and one thread."""
    seed = torch.initial_seed()
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - what third-party transforms draw from
    torch.set_num_threads(1)


def build_loader(
    images: LazyImages,
    batches: Sequence[Sequence[Item]],
    generator: torch.Generator,
    *,
    workers: int,
    pin_memory: bool | None = None,
) -> DataLoader[tuple[Tensor, int]]:
    """Return a loader that decodes given batches, in order, in worker processes.

    Args:
        images: The files.
        batches: Positions and seeds of every batch.
        generator: CPU generator that the workers' base seed is drawn from.
        workers: Number of worker processes, at most one a processor; 0 decodes in this one.
        pin_memory: Whether batches are put into pinned memory; None: where CUDA is present.
    """
    return DataLoader(
        images,
        batch_sampler=batches,  # type: ignore[arg-type]  # any iterable of batches will do
        num_workers=min(workers, os.cpu_count() or 1),
        pin_memory=torch.cuda.is_available() if pin_memory is None else pin_memory,
        worker_init_fn=seed_worker,
        generator=generator,
    )


class LazyStream:
    """Shuffled, augmented batches of `LazyImages`; resumable like `BatchStream`.

    The order and the seeds of an epoch are drawn from the generator when it begins. Resuming in
    mid-epoch skips the batches handed out before without decoding them.

    Args:
        images: The files.
        batch_size: Images a batch.
        generator: CPU generator of order and augmentation.
        workers: Number of worker processes.
        drop_last: Whether the images left over at the end of an epoch are skipped.
        rows: The rows of every batch that are decoded (a process's share); None: all.

    Raises:
        ConfigError: The batch is larger than the data set.
    """

    def __init__(
        self,
        images: LazyImages,
        batch_size: int,
        generator: torch.Generator,
        *,
        workers: int = 0,
        drop_last: bool = True,
        rows: slice | None = None,
    ) -> None:
        self._rows = slice(None) if rows is None else rows
        if not 1 <= batch_size <= len(images):
            raise ConfigError(
                f"a batch of {batch_size} images does not fit the split, which has {len(images)}",
                "one batch must fit into one epoch",
                f"set the batch size to 1 .. {len(images)}",
            )
        self._images, self._size, self._drop_last = images, batch_size, drop_last
        self._generator, self._workers = generator, workers
        self._before = generator.get_state()
        self._digest = images.digest()
        self.epoch, self.position = 0, len(self)

    def __len__(self) -> int:
        """Return the number of batches in one epoch."""
        whole, left = divmod(len(self._images), self._size)
        return whole if self._drop_last or left == 0 else whole + 1

    def epoch_batches(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Go through what is left of epoch `number`, counted from 1.

        Yields:
            Images, float32, shape `(B, 3, R, R)`, and labels, int64, shape `(B,)`.

        Raises:
            ConfigError: Another epoch than the current or, at its end, the next is asked for.
        """
        if number == self.epoch + 1 and self.position >= len(self):
            self._before = self._generator.get_state()
            self.epoch, self.position = number, 0
        if number != self.epoch:
            raise ConfigError(
                f"epoch {number} was asked for",
                f"epoch {self.epoch} is at batch {self.position} of {len(self)}",
                "finish an epoch before the next one, in order",
            )
        if self.position >= len(self):
            return
        self._generator.set_state(self._before)
        count = len(self._images)
        order = torch.randperm(count, generator=self._generator).tolist()
        seeds = torch.randint(2**62, (count,), generator=self._generator).tolist()
        items = list(zip(order, seeds, strict=True))
        starts = range(self.position * self._size, len(self) * self._size, self._size)
        batches = [items[start : start + self._size][self._rows] for start in starts]
        for images, labels in build_loader(
            self._images, batches, self._generator, workers=self._workers
        ):
            self.position += 1
            yield images, labels

    def state_dict(self) -> dict[str, Any]:
        """Return the position, as plain tensors and numbers."""
        return {
            "version": 1,
            "files": self._digest,
            "batch_size": self._size,
            "drop_last": self._drop_last,
            "epoch": self.epoch,
            "position": self.position,
            "before": self._before.clone(),
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the position of `state`.

        Raises:
            CheckpointError: The state is damaged, or of other files or another batch size.
        """
        mine = {
            "version": 1,
            "files": self._digest,
            "batch_size": self._size,
            "drop_last": self._drop_last,
        }
        for name, value in mine.items():
            if state.get(name) != value:
                raise CheckpointError(
                    f"the position in the data has {name} {state.get(name)!r}",
                    f"expected {value!r}: it belongs to other files or to other settings",
                    "resume with the settings that the run was begun with",
                )
        epoch, position = state.get("epoch"), state.get("position")
        tensors = (state.get("before"), state.get("generator"))
        if (
            not isinstance(epoch, int)
            or not isinstance(position, int)
            or not 0 <= position <= len(self)
            or not all(isinstance(tensor, Tensor) for tensor in tensors)
        ):
            raise CheckpointError(
                f"the position in the data is damaged (epoch {epoch!r}, batch {position!r})",
                f"expected 0 to {len(self)} batches and the state of the generator",
                "go back to an older checkpoint",
            )
        self.epoch, self.position = epoch, position
        self._before = state["before"].cpu().clone()
        self._generator.set_state(state["generator"].cpu())


def lazy_evaluation_batches(
    images: LazyImages, batch_size: int, *, workers: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """Go through all files once, in order; the last batch may be smaller."""
    items = [(position, 0) for position in range(len(images))]
    batches = [items[start : start + batch_size] for start in range(0, len(items), batch_size)]
    generator = torch.Generator().manual_seed(0)
    yield from build_loader(images, batches, generator, workers=workers)
