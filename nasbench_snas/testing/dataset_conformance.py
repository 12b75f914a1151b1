"""Conformance checks of data sets of one's own.

The images are looked for where a run looks for them: in ``$NASBENCH_DATA``, or ``./data``.
"""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch

from nasbench_snas.api import ImageDataset
from nasbench_snas.data import load_splits
from nasbench_snas.data.catalogue import CATALOGUE, default_root
from nasbench_snas.data.settings import DataSettings, Part
from nasbench_snas.data.source import OwnImages
from nasbench_snas.settings.parameters import resolve_parameters
from nasbench_snas.testing.conformance import Conformance
from nasbench_snas.testing.documentation import DocumentationChecks
from nasbench_snas.testing.globals import global_generators_rest

_PARTS: tuple[Part, ...] = ("train", "test")


class DatasetConformance(DocumentationChecks, Conformance):
    """Checks of a data set: an :class:`~nasbench_snas.api.ImageDataset`.

    Attributes:
        dataset: The class under test.
        settings: Keyword arguments it is constructed with.
        documented_attributes: Literal class attributes that listings need.
    """

    subject_attribute = "dataset"
    dataset: ClassVar[type[ImageDataset]]
    settings: ClassVar[dict[str, Any]] = {}
    documented_attributes = ("name", "summary", "licence")

    def read(self) -> OwnImages:
        """Return the images, to be read anew."""
        values = resolve_parameters(self.dataset, self.settings, "data.parameters")
        return OwnImages(self.dataset(**values), values)

    def test_its_name_is_free(self) -> None:
        """No data set of the suite has the name."""
        assert self.dataset.name not in CATALOGUE, f"{self.dataset.name!r} is built in"

    def test_both_parts_are_labelled_images_of_several_classes(self) -> None:
        """Training and test images can be used as they are, in every class one at least."""
        own = self.read()
        for part in _PARTS:
            data = own.images(default_root(), part)
            found = torch.bincount(data.labels, minlength=data.num_classes)
            missing = [data.class_names[c] for c in (found == 0).nonzero().flatten().tolist()]
            assert data.num_classes > 1, "expected two classes or more"
            assert not missing, f"classes without a {part} image: {missing[:5]}"

    def test_reading_again_gives_the_same_images(self) -> None:
        """Two readings have one fingerprint, and no global generator is moved."""
        with global_generators_rest():
            first, second = self.read(), self.read()
            for part in _PARTS:
                digests = [own.digest(default_root(), part) for own in (first, second)]
                assert digests[0] == digests[1], f"the {part} images differ when read again"
        assert first.digest(default_root(), "train") != first.digest(default_root(), "test")

    def test_no_test_image_is_a_training_image(self) -> None:
        """No test image is, pixel for pixel, among the training images."""
        own = self.read()
        train, test = (own.images(default_root(), part).images for part in _PARTS)
        known = {image.numpy().tobytes() for image in train}
        shared = sum(image.numpy().tobytes() in known for image in test)
        assert shared == 0, f"{shared} of {len(test)} test images are training images too"

    def test_statistics_go_together(self) -> None:
        """Means and standard deviations are declared together, one for each channel."""
        mean, std = self.dataset.mean, self.dataset.std
        assert (mean is None) == (std is None), "declare mean and std together"
        if mean is None or std is None:
            pytest.skip("computed from the images")
        channels = self.read().images(default_root(), "train").images.shape[1]
        assert len(mean) == len(std) == channels, f"expected {channels} numbers each"

    def test_a_search_can_split_it(self) -> None:
        """The training images divide into parts for theta, alpha and validation."""
        own = self.read()
        side = 8 if len(set(own.images(default_root(), "train").images.shape[2:])) > 1 else None
        settings = DataSettings(dataset=self.dataset.name, resolution=side)
        splits = load_splits(settings.with_own(own, own.values), 0, bilevel=True)
        assert min(len(splits.train), len(splits.arch or ()), len(splits.search_valid)) > 0
