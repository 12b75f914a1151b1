"""Random numbers of a resampling method, derived from the data it resamples.

The seed is the first 8 bytes of blake2b over a label, the shape and the little-endian float64 bytes
of each array. Whoever has the same numbers rebuilds the same interval; nobody can try seeds until
one looks good.
"""

from __future__ import annotations

import hashlib

import numpy as np

from nasbench_snas.stats.interval import ArrayLike


def data_seed(*arrays: ArrayLike, label: str = "") -> int:
    """Return a 64-bit seed that is a pure function of ``label`` and the arrays.

    Args:
        arrays: The data, any shapes; their order counts.
        label: Name of the method, so that two methods on the same data do not share numbers.

    Returns:
        An integer in ``[0, 2**64)``, the same on every platform.
    """
    digest = hashlib.blake2b(label.encode(), digest_size=8)
    for array in arrays:
        values = np.ascontiguousarray(np.asarray(array, dtype="<f8") + 0.0)  # -0.0 becomes 0.0
        digest.update(repr(values.shape).encode())
        digest.update(values.tobytes())
    return int.from_bytes(digest.digest(), "little")


def data_generator(*arrays: ArrayLike, label: str = "") -> np.random.Generator:
    """Return a PCG64 generator seeded by :func:`data_seed`."""
    return np.random.Generator(np.random.PCG64(data_seed(*arrays, label=label)))
