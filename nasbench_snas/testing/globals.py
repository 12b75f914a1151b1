"""That nothing draws from generators that everybody shares."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def global_generators_rest() -> Iterator[None]:
    """Assert that what runs inside moves neither Python's, numpy's nor torch's generator."""
    before = _states()
    yield
    for name, state in _states().items():
        assert state == before[name], f"{name}'s generator moved: take a seeded one"


def _states() -> dict[str, bytes]:
    return {
        "Python": pickle.dumps(random.getstate()),
        "numpy": pickle.dumps(np.random.get_state()),  # noqa: NPY002
        "torch": torch.get_rng_state().numpy().tobytes(),
    }
