"""Data sets, their splits, whole-batch augmentation and resumable batches.

A run needs four calls: ``DataSettings(...)``, ``load_splits(settings, seed, bilevel=...)``,
``make_augmenter(settings, splits.statistics, splits.image_shape)`` and ``stream_of(splits.train,
...)``. Names are imported when they are first used, so that importing this package, the catalogue
or the settings brings in no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nasbench_snas.data.augment import Augmenter, Draw, make_augmenter
    from nasbench_snas.data.batches import BatchStream, evaluation_batches, stream_of
    from nasbench_snas.data.catalogue import CATALOGUE, DatasetInfo, list_datasets
    from nasbench_snas.data.images import ImageSet
    from nasbench_snas.data.lazy import LazyStream, build_loader, load_lazy
    from nasbench_snas.data.parquet import from_parquet
    from nasbench_snas.data.pictures import from_arrays, from_torch
    from nasbench_snas.data.presence import VerifyReport, prepare, verify
    from nasbench_snas.data.registry import load_part
    from nasbench_snas.data.settings import AugmentSettings, DataSettings, FakeSettings
    from nasbench_snas.data.splits import Split, Splits, load_splits, load_test, load_training
    from nasbench_snas.data.statistics import Statistics

_MODULES = {
    "augment": ("Augmenter", "Draw", "make_augmenter"),
    "batches": ("BatchStream", "evaluation_batches", "stream_of"),
    "catalogue": ("CATALOGUE", "DatasetInfo", "list_datasets"),
    "images": ("ImageSet",),
    "lazy": ("LazyStream", "build_loader", "load_lazy"),
    "parquet": ("from_parquet",),
    "pictures": ("from_arrays", "from_torch"),
    "registry": ("load_part",),
    "settings": ("AugmentSettings", "DataSettings", "FakeSettings"),
    "splits": ("Split", "Splits", "load_splits", "load_test", "load_training"),
    "statistics": ("Statistics",),
    "presence": ("VerifyReport", "prepare", "verify"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "CATALOGUE",
    "AugmentSettings",
    "Augmenter",
    "BatchStream",
    "DataSettings",
    "DatasetInfo",
    "Draw",
    "FakeSettings",
    "ImageSet",
    "LazyStream",
    "Split",
    "Splits",
    "Statistics",
    "VerifyReport",
    "batches",
    "build_loader",
    "catalogue",
    "evaluation_batches",
    "fingerprint",
    "from_arrays",
    "from_parquet",
    "from_torch",
    "imagefolder",
    "lazy",
    "list_datasets",
    "load_lazy",
    "load_part",
    "load_splits",
    "load_test",
    "load_training",
    "make_augmenter",
    "own",
    "parquet",
    "pictures",
    "prepare",
    "presence",
    "settings",
    "shards",
    "source",
    "splits",
    "statistics",
    "stream_of",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its module when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
