"""Batches of images held in memory, in an order that can be taken up again bit for bit.

Every pass over a split (an epoch) draws one permutation from the stream's generator; every batch
draws its augmentation from the augmentation generator when it is made, never ahead. So the state
after batch k is: both generator states, the permutation, the position. Restored, it gives exactly
the batches that would have followed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from nasbench_snas.data.splits import Split
from nasbench_snas.errors import CheckpointError, ConfigError
from nasbench_snas.seeding import restore_generator

Augment = Callable[[Tensor, torch.Generator], Tensor]
Batch = tuple[Tensor, Tensor]

_VERSION = 1


class BatchStream:
    """Shuffled, augmented batches of a split.

    `epoch_batches(number)` goes through one epoch and, after `load_state_dict`, through the rest
    of it. `next_batch()` never ends: it begins a new epoch where one is used up (the split that
    trains alpha is read like that). Both move the same position.

    Args:
        images: uint8 pixels, shape `(N, C, H, W)`.
        labels: int64 class numbers, shape `(N,)`.
        indices: The images to go through, shape `(M,)`.
        batch_size: Images a batch.
        generator: Draws the permutations. On the CPU, it gives one order on every device.
        augment: Called as ``augment(images, augment_generator)``; None hands out uint8.
        drop_last: Whether the images left over at the end of an epoch are skipped.
        augment_generator: Draws the augmentation; None: `generator` does.

    Raises:
        ConfigError: The batch is larger than the split.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        indices: Tensor,
        batch_size: int,
        generator: torch.Generator,
        augment: Augment | None = None,
        drop_last: bool = True,
        *,
        augment_generator: torch.Generator | None = None,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"a batch of {batch_size} images", "expected at least 1")
        if batch_size > len(indices):
            raise ConfigError(
                f"a batch of {batch_size} images is larger than the split, which has "
                f"{len(indices)}",
                "one batch must fit into one epoch",
                f"set the batch size to {len(indices)} or less, or use more images",
            )
        self._images, self._labels = images, labels
        self._indices = indices.to(images.device)
        self._size, self._drop_last = batch_size, drop_last
        self._generator, self._augment = generator, augment
        self._augment_generator = generator if augment_generator is None else augment_generator
        self._order = torch.empty(0, dtype=torch.int64, device=images.device)
        self._epoch, self._position = 0, len(self)

    def __len__(self) -> int:
        """Return the number of batches in one epoch."""
        whole, left = divmod(len(self._indices), self._size)
        return whole if self._drop_last or left == 0 else whole + 1

    @property
    def epoch(self) -> int:
        """Number of epochs begun so far; the current one has this number, counted from 1."""
        return self._epoch

    @property
    def position(self) -> int:
        """Number of batches of the current epoch handed out so far."""
        return self._position

    def next_batch(self) -> Batch:
        """Return the next batch, of a new epoch where the current one is used up.

        Returns:
            Images, shape `(B, C, H, W)`, floating point (uint8 without augmentation), and labels,
            int64, shape `(B,)`.
        """
        if self._position >= len(self):
            self._begin_epoch()
        start = self._position * self._size
        chosen = self._indices[self._order[start : start + self._size]]
        self._position += 1
        images, labels = self._images[chosen], self._labels[chosen]
        if self._augment is not None:
            images = self._augment(images, self._augment_generator)
        return images, labels

    def epoch_batches(self, number: int) -> Iterator[Batch]:
        """Go through the batches of epoch `number` that have not been handed out yet.

        Args:
            number: The current epoch, counted from 1, or the one after it if the current one is
                used up. A finished epoch gives no batches, so that a loop can resume at any point.

        Raises:
            ConfigError: Another epoch is asked for.
        """
        if number == self._epoch + 1 and self._position >= len(self):
            self._begin_epoch()
        if number != self._epoch:
            raise ConfigError(
                f"epoch {number} was asked for",
                f"epoch {self._epoch} is at batch {self._position} of {len(self)}",
                "finish an epoch before the next one, in order",
            )
        while self._epoch == number and self._position < len(self):
            yield self.next_batch()

    def _begin_epoch(self) -> None:
        order = torch.randperm(
            len(self._indices), generator=self._generator, device=self._generator.device
        )
        self._order = order.to(self._images.device)
        self._epoch, self._position = self._epoch + 1, 0

    def state_dict(self) -> dict[str, Any]:
        """Return the position, as plain tensors and numbers."""
        shared = self._augment_generator is self._generator
        return {
            "version": _VERSION,
            "split": self._digest(),
            "batch_size": self._size,
            "drop_last": self._drop_last,
            "epoch": self._epoch,
            "position": self._position,
            "order": self._order.cpu().clone(),
            "generator": self._generator.get_state(),
            "augment_generator": None if shared else self._augment_generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the position of `state`; the generators passed at the start are set to it.

        Raises:
            CheckpointError: The state is damaged, or of another split or batch size.
        """
        shared = self._augment_generator is self._generator
        mine = {
            "version": _VERSION,
            "split": self._digest(),
            "batch_size": self._size,
            "drop_last": self._drop_last,
        }
        for name, value in mine.items():
            if state.get(name) != value:
                raise CheckpointError(
                    f"the position in the data has {name} {state.get(name)!r}",
                    f"expected {value!r}: it belongs to another split or to other settings",
                    "resume with the settings that the run was begun with",
                )
        self._check(state, shared)
        self._epoch, self._position = state["epoch"], state["position"]
        self._order = state["order"].to(self._images.device, copy=True)
        restore_generator(self._generator, state["generator"])
        if not shared:
            restore_generator(self._augment_generator, state["augment_generator"])

    def _check(self, state: dict[str, Any], shared: bool) -> None:
        epoch, position, order = state.get("epoch"), state.get("position"), state.get("order")
        expected = 0 if epoch == 0 else len(self._indices)
        whole = (
            isinstance(epoch, int)
            and isinstance(position, int)
            and 0 <= position <= len(self)
            and isinstance(order, Tensor)
            and torch.equal(order.sort().values, torch.arange(expected, device=order.device))
            and isinstance(state.get("generator"), Tensor)
            and isinstance(state.get("augment_generator"), Tensor) != shared
        )
        if not whole:
            raise CheckpointError(
                f"the position in the data is damaged (epoch {epoch!r}, batch {position!r})",
                f"expected 0 to {len(self)} batches, a permutation of {expected} images and the "
                "state of every generator",
                "go back to an older checkpoint",
            )

    def _digest(self) -> str:
        data = self._indices.cpu().to(torch.int64).numpy().tobytes()
        return hashlib.blake2b(data, digest_size=16).hexdigest()


def stream_of(
    split: Split,
    batch_size: int,
    generator: torch.Generator,
    augment: Augment | None = None,
    drop_last: bool = True,
    *,
    augment_generator: torch.Generator | None = None,
) -> BatchStream:
    """Return a `BatchStream` of a split; arguments as there."""
    return BatchStream(
        split.images,
        split.labels,
        split.indices,
        batch_size,
        generator,
        augment,
        drop_last,
        augment_generator=augment_generator,
    )


def evaluation_batches(
    split: Split, batch_size: int, plain: Callable[[Tensor], Tensor] | None = None
) -> Iterator[Batch]:
    """Go through a split once, in its own order, every image once, without augmentation.

    Args:
        split: The images.
        batch_size: Images a batch; the last batch may be smaller.
        plain: Turns uint8 into floating point, as `Augmenter.plain` does; None hands out uint8.

    Yields:
        Images, shape `(B, C, H, W)`, and labels, int64, shape `(B,)`.

    Raises:
        ConfigError: The batch size is not positive.
    """
    if batch_size < 1:
        raise ConfigError(f"a batch of {batch_size} images", "expected at least 1")
    for chosen in torch.split(split.indices.to(split.images.device), batch_size):
        images = split.images[chosen]
        yield (images if plain is None else plain(images)), split.labels[chosen]
