"""That nothing draws from generators that everybody shares."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def global_generators_rest() -> Iterator[None]:
    """Assert that what runs inside moves neither Python's, numpy's nor torch's generator."""
    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    yield
    assert random.getstate() == before[0], "Python's generator was moved: take a seeded one"
    numpy_state = np.random.get_state()[1]  # noqa: NPY002
    assert np.array_equal(numpy_state, before[1]), "numpy's generator was moved: take a seeded one"
    assert torch.equal(torch.get_rng_state(), before[2]), "torch's generator was moved"
