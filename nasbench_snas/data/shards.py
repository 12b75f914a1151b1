"""A process's share of global batches: same order, same augmentation, other rows.

Every process goes through the same stream and draws the augmentation of the whole batch, then
varies only its own rows. So the images of all processes together are those of one process, and the
position in the data does not depend on the number of processes.

Images may stay in the host's memory: each share is then moved when it is made, from pinned memory
where the target is a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from nasbench_snas.data.augment import Augmenter, Draw
from nasbench_snas.data.batches import Batch, BatchStream


class ShardAugment:
    """Varies the own rows of a batch; called like an `Augmenter`.

    Args:
        augmenter: What varies them.
        rows: The own rows of a global batch.
        device: Where the result goes.
    """

    def __init__(self, augmenter: Augmenter, rows: slice, device: torch.device) -> None:
        self.augmenter, self.rows, self.device = augmenter, rows, device

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return the own rows, varied, of uint8 `images`, shape `(B, C, H, W)`."""
        batch, _, height, width = images.shape
        draw = self.augmenter.draw(batch, height, width, generator)
        rows = self.rows
        own = Draw(draw.rows[rows], draw.columns[rows], draw.mirror[rows], draw.centres[rows])
        return self.augmenter.apply(move(images[rows], self.device), own)


class ShardedStream:
    """The own rows of a `BatchStream` whose augmentation is a `ShardAugment`.

    Args:
        stream: The global batches.
        rows: The own rows.
        device: Where labels go.
    """

    def __init__(self, stream: BatchStream, rows: slice, device: torch.device) -> None:
        self._stream, self._rows, self._device = stream, rows, device

    def __len__(self) -> int:
        """Return the number of batches in one epoch."""
        return len(self._stream)

    @property
    def position(self) -> int:
        """Number of batches of the current epoch handed out so far."""
        return self._stream.position

    def next_batch(self) -> Batch:
        """Return the own rows of the next batch; see `BatchStream.next_batch`."""
        images, labels = self._stream.next_batch()
        return images, move(labels[self._rows], self._device)

    def epoch_batches(self, number: int) -> Iterator[Batch]:
        """Go through what is left of epoch `number`; see `BatchStream.epoch_batches`."""
        for images, labels in self._stream.epoch_batches(number):
            yield images, move(labels[self._rows], self._device)

    def state_dict(self) -> dict[str, Any]:
        """Return the position, the same on every process."""
        return self._stream.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the position of `state`."""
        self._stream.load_state_dict(state)


def move(tensor: Tensor, device: torch.device) -> Tensor:
    """Return `tensor` on `device`; to a GPU through pinned memory, without waiting."""
    if tensor.device == device or device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
