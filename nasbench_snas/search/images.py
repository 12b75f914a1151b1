"""Which images a search is measured on, part by part, without augmentation and in fixed order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from nasbench_snas.data import Augmenter, Split, Splits, evaluation_batches
from nasbench_snas.data.batches import Batch
from nasbench_snas.data.splits import divide
from nasbench_snas.settings.run import RunConfig


class SearchImages:
    """The images that measure one search.

    Args:
        splits: All images of the search.
        augment: For their normalisation.
        config: The search's settings.

    Attributes:
        selection: The part of ``search_valid`` that a rule which compares selects by; None: none.
        reporting: The part that every accuracy of the search is measured on.
    """

    def __init__(self, splits: Splits, augment: Augmenter, config: RunConfig) -> None:
        self.splits, self._plain = splits, augment.plain
        self._size = config.search.eval_batch_size
        self._recalibration = config.child.recalibration_images
        self.selection, self.reporting = divide(
            splits.search_valid, config.child.selection_fraction, config.seed, config.data.dataset
        )

    def batches(self, split: Split) -> Iterator[Batch]:
        """Yield the normalised batches of a split."""
        return evaluation_batches(split, self._size, self._plain)

    def reported(self) -> Iterator[Batch]:
        """Yield the batches of the reporting part."""
        return self.batches(self.reporting)

    def calibration(self) -> Iterable[Batch]:
        """Yield training batches for recalibration."""
        seen, wanted = 0, self._recalibration
        size = min(self._size, max(wanted // 4, 1))
        for batch in evaluation_batches(self.splits.train, size, self._plain):
            yield batch
            seen += len(batch[1])
            if seen >= wanted:
                return
